"""`opinionwatch backtest`: its options, and how it prints the episodes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.backtest.options import Gaps, Lane, Request
from pipeline.cli.options import AsJson, Config, settings_of
from pipeline.cli.presenter import Presenter
from pipeline.domain.errors import EXIT_USAGE, Fatal

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pipeline.cli.backtest.result import Backtest


def backtest(
    file: Annotated[
        Path | None,
        typer.Argument(help="CSV: timestamp,key,posts,negative (optional: authors,score_sum), buckets of 5 to 60 min."),
    ] = None,
    index: Annotated[bool, typer.Option("--index", help="Read the history of the index instead of a file.")] = False,
    days: Annotated[
        int | None,
        typer.Option(
            "--days", min=1, max=36_500, help="Read this many days, with --index (default: as many as a calibration)."
        ),
    ] = None,
    lane: Annotated[Lane, typer.Option("--lane", help="Watch the negative share or the volume.")] = Lane.negative,
    target: Annotated[
        float | None,
        typer.Option(
            "--target-false-alerts", min=0.0, help="Calibrate the thresholds to this many episodes per key-week."
        ),
    ] = None,
    calibrate_on: Annotated[
        Path | None, typer.Option("--calibrate-on", help="Calibrate on this history instead of the one backtested.")
    ] = None,
    real: Annotated[
        list[str] | None,
        typer.Option("--except", help="Leave a real crisis out of the calibration: KEY@TIME. Repeatable."),
    ] = None,
    save: Annotated[
        bool, typer.Option("--save", help="Store the thresholds for the alert role, with --index.")
    ] = False,
    gaps: Annotated[
        Gaps, typer.Option("--gaps", help="Treat a missing row as an error or as zero posts.")
    ] = Gaps.error,
    chart: Annotated[
        bool, typer.Option("--chart", help="Draw the share of each key over time and mark its episodes.")
    ] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Run the alert rule over history: list the episodes and their rate per key-week.

    Example: opinionwatch backtest history.csv --target-false-alerts 0.1 --calibrate-on last-quarter.csv
    """
    if (file is None) != index:
        raise Fatal("backtest needs exactly one history", "give a CSV file, or --index", EXIT_USAGE)
    request = Request(file, days, lane, gaps, target, calibrate_on, tuple(real or ()), save)
    request.check()
    from pipeline.cli.backtest.rehearsal import rehearse

    found = rehearse(request, settings_of(config))
    Presenter(as_json).show(found.to_json(), _lines(found, chart))


def _lines(found: Backtest, chart: bool) -> Iterator[RenderableType]:
    if chart:
        from pipeline.alerting.alerts.terminal_chart import share_chart

        yield share_chart(found.history, found.episodes)
    for episode in found.episodes:
        row = found.row(episode)
        yield (
            f"{row['fired_at']}  {row['severity']:8}  {row['key']:30}  {row['observed']} observed, "
            f"{row['expected']} expected, since {row['started_at']}, until {row['ended_at'] or 'the end'}"
            + (f"; held: {row['held']}" if row["held"] else "")
        )
    low, high = found.rate_interval
    named = ", ".join(f"{name}: {t.fire:.1f}" for name, t in found.thresholds.items()) or f"{found.fire}"
    yield (
        f"{len(found.episodes)} episodes, {found.rate:.3f} per key-week (80 % interval {low:.3f} to {high:.3f}) over "
        f"{found.history.key_weeks:.1f} key-weeks; "
        f"threshold {named}"
        + (f"; {len(found.held)} of them would have been held: nobody would have been notified" if found.held else "")
    )
