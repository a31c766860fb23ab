"""`opinionwatch backtest`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from models.files.encodings import FileError, opened, text_of
from models.files.tables import lines_of
from pipeline.alerting.alerts.evidence import EvidenceReader
from pipeline.alerting.alerts.terminal_chart import share_chart
from pipeline.alerting.counting.count_cache import CountCache
from pipeline.alerting.counting.history import CountHistory, read_history
from pipeline.alerting.detection.negative_share import DetectorConfig
from pipeline.alerting.detection.thresholds import CALIBRATION, Threshold
from pipeline.alerting.evaluation import backtest as rule_over
from pipeline.alerting.evaluation import calibration
from pipeline.alerting.evaluation.confirmed import DecidingEpisode, deciding, without_episode
from pipeline.alerting.evaluation.episodes import Episode, Policy
from pipeline.alerting.evaluation.factory import key_overrides
from pipeline.alerting.evaluation.overrides import KeyOverride, least_authors, override_of
from pipeline.alerting.evaluation.why import near
from pipeline.cli.common import AsJson, Config, err, out, print_json, settings_of
from pipeline.domain.errors import EXIT_UNAVAILABLE, EXIT_USAGE, Fatal
from pipeline.settings import AlertSettings
from pipeline.store.factory import open_store
from pipeline.store.protocol import Store


class Gaps(StrEnum):
    """A row that a key lacks: an error, or no posts."""

    error = "error"
    zero = "zero"


class Lane(StrEnum):
    """What is watched: the negative share, or the volume."""

    negative = "negative"
    volume = "volume"


def backtest(
    file: Annotated[
        Path | None, typer.Argument(help="CSV: timestamp,key,posts,negative in buckets of 5 to 60 minutes.")
    ] = None,
    index: Annotated[bool, typer.Option("--index", help="The history of the index instead of a file.")] = False,
    days: Annotated[
        int, typer.Option("--days", min=1, max=36_500, help="With --index: so many days back.")
    ] = calibration.DAYS,
    lane: Annotated[Lane, typer.Option("--lane")] = Lane.negative,
    target: Annotated[
        float | None, typer.Option("--target-false-alerts", min=0.0, help="Episodes per key-week to calibrate to.")
    ] = None,
    calibrate_on: Annotated[Path | None, typer.Option("--calibrate-on", help="History to calibrate on.")] = None,
    real: Annotated[
        list[str] | None,
        typer.Option(
            "--except", help="KEY@TIME: a crisis that was real, which the calibration leaves out. Repeatable."
        ),
    ] = None,
    save: Annotated[
        bool, typer.Option("--save", help="With --index: the alert role takes these thresholds over.")
    ] = False,
    gaps: Annotated[Gaps, typer.Option("--gaps", help="What a missing row means.")] = Gaps.error,
    chart: Annotated[bool, typer.Option("--chart", help="The share of each key over time, episodes marked.")] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """The alert rule over history: its episodes, and how many there are per key-week.

    Example: opinionwatch backtest history.csv --target-false-alerts 0.1 --calibrate-on last-quarter.csv
    """
    settings = settings_of(config)
    alerts = settings.alerts
    if (file is None) != index:
        raise Fatal("backtest needs one history", "give a CSV file, or --index", EXIT_USAGE)
    _check_calibration(target, calibrate_on, real, save, saveable=index and lane is Lane.negative)
    store: Store | None = None
    if file:
        history = _read(file, gaps)
    else:
        store = open_store(settings.store)
        history = _of_index(store, alerts, days)
    scores = _scores(history, lane, alerts)
    policy = rule_over.VOLUME_POLICY if lane is Lane.volume else Policy(alerts.fire, alerts.critical)
    by_tier: dict[str, Threshold] = {}
    suspects: list[DecidingEpisode] = []
    if save and store and target is not None:
        by_tier = dict(_save(store, alerts, target))
    elif target is not None:
        quiet = history if calibrate_on is None else _read(calibrate_on, gaps)
        quiet_scores = scores if quiet is history else _scores(quiet, lane, alerts)
        if store and quiet is history and lane is Lane.negative:
            quiet_scores = calibration.leave_out_confirmed(store, quiet, quiet_scores)
        for crisis in real or ():
            quiet_scores = _without(quiet, quiet_scores, crisis, policy)
        by_tier = rule_over.calibrate(quiet, quiet_scores, target, policy)
        suspects = deciding(quiet, quiet_scores, by_tier, policy)
    fire = rule_over.thresholds(history, policy.fire, by_tier)
    rules = key_overrides(alerts) if lane is Lane.negative else []
    fire = [override_of(rules, key).fire or usual for key, usual in zip(history.keys, fire, strict=True)]
    found = rule_over.episodes(history, scores, fire, policy, rules)
    rate = len(found) / history.key_weeks
    authors_of = EvidenceReader(store, alerts.counting) if store and lane is Lane.negative else None
    held = _held(authors_of, alerts.min_authors, rules, found) if authors_of else {}
    if file and lane is Lane.negative and any(least_authors(alerts.min_authors, rules, k) > 1 for k in history.keys):
        err.print("a CSV has no authors: what alerts.min_authors holds is not left out; --index counts them")
    _warn(suspects, by_tier, indexed=store is not None and calibrate_on is None)
    if as_json:
        print_json(
            {
                "lane": lane.value,
                "keys": len(history.keys),
                "key_weeks": round(history.key_weeks, 3),
                "alerts_per_key_week": round(rate, 4),
                "thresholds": {n: round(t.fire, 2) for n, t in by_tier.items()} or {"all": policy.fire},
                "calibrated_rates": {n: round(t.per_key_week, 4) for n, t in by_tier.items()},
                "suspected": [{"key": d.key, "at": d.at.isoformat(), "score": d.score} for d in suspects],
                "gaps": len(history.gaps),
                "held": len(held) if authors_of else None,
                "episodes": [{**_row(e), "held": held.get(e.id)} for e in found],
            }
        )
        return
    if chart:
        out.print(share_chart(history, found))
    for episode in found:
        row = _row(episode)
        out.print(
            f"{row['fired_at']}  {row['severity']:8}  {row['key']:30}  {row['observed']} observed, "
            f"{row['expected']} expected, since {row['started_at']}, until {row['ended_at'] or 'the end'}"
            + (f"; held: {held[episode.id]}" if episode.id in held else ""),
            markup=False,
        )
    named = ", ".join(f"{name}: {t.fire:.1f}" for name, t in by_tier.items()) or f"{policy.fire}"
    out.print(
        f"{len(found)} episodes, {rate:.3f} per key-week over {history.key_weeks:.1f} key-weeks; threshold {named}"
        + (f"; {len(held)} would have been held, told to nobody" if held else "")
    )


def _check_calibration(
    target: float | None, calibrate_on: Path | None, real: Sequence[str] | None, save: bool, *, saveable: bool
) -> None:
    """Raises `Fatal` for options that do not go together."""
    if save and (not saveable or target is None):
        raise Fatal("--save needs --index, --target-false-alerts and the negative lane", "add them", EXIT_USAGE)
    if calibrate_on is not None and target is None:
        raise Fatal("--calibrate-on needs --target-false-alerts", "say the rate, e.g. 0.1", EXIT_USAGE)
    if real and (save or target is None):
        raise Fatal(
            "--except needs --target-false-alerts, and does not go with --save",
            "to keep a threshold, acknowledge the alert: a calibration leaves out what people acknowledged",
            EXIT_USAGE,
        )


def _read(file: Path, gaps: Gaps) -> CountHistory:
    try:
        with opened(file) as source, text_of(source, str(file)) as lines:
            history = read_history(lines_of(lines, str(file)), str(file))
    except FileError as error:
        raise Fatal(error.problem, error.remedy, EXIT_USAGE) from None
    if history.gaps and gaps is Gaps.error:
        more = f" and {len(history.gaps) - 1} more" if len(history.gaps) > 1 else ""
        raise Fatal(
            f"{file}: {history.gaps[0]}{more}",
            "write rows with 0 posts, or say --gaps zero if that is meant",
            EXIT_USAGE,
        )
    return history


def _of_index(store: Store, alerts: AlertSettings, days: int) -> CountHistory:
    store.refresh()
    bounds = calibration.extent(store)
    if bounds is None:
        raise Fatal("the index holds no posts", "run the classify role first", EXIT_UNAVAILABLE)
    counts = CountCache(store, alerts.counting, keep=False)
    return calibration.history_of(counts, max(bounds[0], bounds[1] - timedelta(days=days)), bounds[1])


def _without(
    history: CountHistory, scores: rule_over.ScoreHistory, episode: str, policy: Policy
) -> rule_over.ScoreHistory:
    """`episode` is the KEY@TIME of `--except`."""
    key, _, text = episode.rpartition("@")
    try:
        at = datetime.fromisoformat(text)
        at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise Fatal(
            f"--except {episode!r} has no time", "write KEY@TIME, e.g. k1@2026-11-27T20:15Z", EXIT_USAGE
        ) from None
    if key not in history.keys:
        hint = ", ".join(near(key, history.keys)) or ", ".join(history.keys[:3])
        raise Fatal(f"--except {episode!r}: the history has no key {key!r}", f"it has {hint}", EXIT_USAGE)
    found = without_episode(history, scores, key, at, policy)
    if found is None:
        raise Fatal(
            f"--except {episode!r}: that key has no episode within 6 hours of that time",
            "give a time at which it was high: backtest without --except lists the episodes",
            EXIT_USAGE,
        )
    return found


def _warn(suspects: Sequence[DecidingEpisode], by_tier: Mapping[str, Threshold], *, indexed: bool) -> None:
    """Says on standard error which episodes a high threshold comes from."""
    for tier in dict.fromkeys(d.tier for d in suspects):
        mine = [d for d in suspects if d.tier == tier]
        err.print(
            f"the threshold of {tier} ({by_tier[tier].fire:.1f}) is high because these episodes count as false alarms:",
            markup=False,
        )
        for d in mine[:5]:
            err.print(f"  {d.name}, score {d.score:.1f}", markup=False)
        if len(mine) > 5:
            err.print(f"  and {len(mine) - 5} more")
        confirm = "acknowledge their alerts ('opinionwatch alerts ack'), or " if indexed else ""
        err.print(
            f"if they were real, {confirm}leave them out with --except '{mine[0].name}', or calibrate on a quiet "
            "period with --calibrate-on FILE",
            markup=False,
        )


def _held(
    evidence: EvidenceReader, everybody: int, rules: Sequence[KeyOverride], found: Sequence[Episode]
) -> dict[str, str]:
    """Of the episodes that too few authors wrote, by id, how many of how many that it takes."""
    held = {}
    for e in found:
        least = least_authors(everybody, rules, e.key)
        if (
            least > 1
            and (distinct_authors := evidence.distinct_authors(e.scope, e.lane, e.started_at, e.updated_at)) < least
        ):
            held[e.id] = f"{distinct_authors} of {least} authors"
    return held


def _save(store: Store, alerts: AlertSettings, target: float) -> Mapping[str, Threshold]:
    counts = CountCache(store, alerts.counting, keep=False)
    rule = DetectorConfig(min_negatives=alerts.min_negatives, min_lift=alerts.min_lift)
    with Progress(console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("calibrating", total=1.0)
        found = calibration.calibrate_on_index(
            store, counts, rule, target, lambda done: bar.update(task, completed=done)
        )
    store.put_state(CALIBRATION, found)
    for name, threshold in found.thresholds.items():
        err.print(
            f"{name}: fires at {threshold.fire:.1f}, {threshold.per_key_week:.3f} episodes per key-week over "
            f"{threshold.key_weeks:.0f} key-weeks; the alert role takes it over within an hour"
        )
    if not found.thresholds:
        err.print(f"no tier has {calibration.LEAST_KEY_WEEKS:.0f} key-weeks yet: alerts.fire stays the threshold")
    return found.thresholds


def _scores(history: CountHistory, lane: Lane, alerts: AlertSettings) -> rule_over.ScoreHistory:
    if lane is Lane.volume:
        return rule_over.volume_scores(history)
    rule = DetectorConfig.every(history.bucket_s, min_negatives=alerts.min_negatives, min_lift=alerts.min_lift)
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
