"""`opinionwatch backtest`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.alerting import backtest as rule_over
from pipeline.alerting.detector import Rule
from pipeline.alerting.episodes import Episode, Policy
from pipeline.alerting.history import History, read_history
from pipeline.commands.common import AsJson, Config, err, out, print_json, settings_of
from pipeline.errors import EXIT_USAGE, Fatal
from pipeline.settings import AlertSettings


class Lane(StrEnum):
    """What is watched: the negative share, or the volume."""

    negative = "negative"
    volume = "volume"


def backtest(
    file: Annotated[Path, typer.Argument(help="CSV: timestamp,key,posts,negative in buckets of 5 to 60 minutes.")],
    lane: Annotated[Lane, typer.Option("--lane")] = Lane.negative,
    target: Annotated[
        float | None, typer.Option("--target-false-alerts", min=0.0, help="Episodes per key-week to calibrate to.")
    ] = None,
    calibrate_on: Annotated[Path | None, typer.Option("--calibrate-on", help="History to calibrate on.")] = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """The alert rule over history: its episodes, and how many there are per key-week.

    Example: opinionwatch backtest history.csv --target-false-alerts 0.1 --calibrate-on last-quarter.csv
    """
    alerts = settings_of(config).alerts
    history = _read(file)
    scores = _scores(history, lane, alerts)
    by_tier: dict[str, float] = {}
    if target is not None:
        quiet = history if calibrate_on is None else _read(calibrate_on)
        by_tier = rule_over.calibrate(quiet, scores if quiet is history else _scores(quiet, lane, alerts), target)
    elif calibrate_on is not None:
        raise Fatal("--calibrate-on needs --target-false-alerts", "say the rate, e.g. 0.1", EXIT_USAGE)
    fire = rule_over.thresholds(history, alerts.fire, by_tier)
    found = rule_over.episodes(history, scores, fire, Policy(alerts.fire, alerts.critical))
    rate = len(found) / history.key_weeks
    if as_json:
        print_json(
            {
                "lane": lane.value,
                "keys": len(history.keys),
                "key_weeks": round(history.key_weeks, 3),
                "alerts_per_key_week": round(rate, 4),
                "thresholds": {k: round(v, 2) for k, v in (by_tier or {"all": alerts.fire}).items()},
                "gaps": len(history.gaps),
                "episodes": [_row(e) for e in found],
            }
        )
        return
    for episode in found:
        row = _row(episode)
        out.print(
            f"{row['fired_at']}  {row['severity']:8}  {row['key']:30}  {row['observed']} observed, "
            f"{row['expected']} expected, since {row['started_at']}, until {row['ended_at'] or 'the end'}",
            markup=False,
        )
    named = ", ".join(f"{name}: {value:.1f}" for name, value in by_tier.items()) or f"{alerts.fire}"
    out.print(
        f"{len(found)} episodes, {rate:.3f} per key-week over {history.key_weeks:.1f} key-weeks; threshold {named}"
    )


def _read(file: Path) -> History:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            history = read_history(lines, str(file))
    except OSError as error:
        raise Fatal(f"{file}: {error.strerror}", "give a CSV of counts", EXIT_USAGE) from None
    except UnicodeDecodeError:
        raise Fatal(f"{file}: is not UTF-8", "convert the file to UTF-8", EXIT_USAGE) from None
    for gap in history.gaps[:5]:
        err.print(f"{file}: {gap}; counted as no posts", markup=False)
    if len(history.gaps) > 5:
        err.print(f"{file}: {len(history.gaps)} gaps in all", markup=False)
    return history


def _scores(history: History, lane: Lane, alerts: AlertSettings) -> rule_over.Scores:
    if lane is Lane.volume:
        return rule_over.volume_scores(history)
    rule = Rule.every(history.bucket_s, min_negatives=alerts.min_negatives, min_lift=alerts.min_lift)
    return rule_over.negative_scores(history, rule)


def _row(episode: Episode) -> dict[str, Any]:
    return {
        "key": episode.key,
        "severity": episode.severity,
        "started_at": episode.started_at.isoformat(),
        "fired_at": episode.fired_at.isoformat(),
        "ended_at": episode.resolved_at.isoformat() if episode.resolved_at else None,
        "observed": episode.peak.observed,
        "expected": episode.peak.expected,
    }
