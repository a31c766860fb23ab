"""`opinionwatch ingest`."""

from __future__ import annotations

import time
from datetime import UTC, tzinfo
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pipeline.cli.options import AsJson, Config, settings_of
from pipeline.cli.presenter import Presenter
from pipeline.cli.terminal import err
from pipeline.domain.errors import EXIT_USAGE, Fatal, Poison
from pipeline.ingest.file_format import FileFormat

_SHOWN = 20


class DateOrder(StrEnum):
    """Whether the day or the month comes first."""

    dmy = "dmy"
    mdy = "mdy"


def ingest(
    file: Annotated[
        Path,
        typer.Argument(
            help="JSONL, JSON, CSV, TSV, RSS, Atom or JSON Feed, also as .gz, in any encoding; - reads stdin."
        ),
    ],
    topic: Annotated[str, typer.Option("--topic", help="Send the posts to this topic.")],
    rate: Annotated[
        float, typer.Option("--rate", min=0, help="Send this many posts a second (0: as fast as possible).")
    ] = 0.0,
    source: Annotated[str, typer.Option("--source", help="Use this source for posts that name none.")] = "",
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map", help="Read a field from a column: FIELD=COLUMN, e.g. text=内容; 'id=' reads none. Repeatable."
        ),
    ] = None,
    zone: Annotated[
        str, typer.Option("--zone", help="Use this time zone for times that name none, e.g. Asia/Shanghai.")
    ] = "UTC",
    date_order: Annotated[
        DateOrder | None, typer.Option("--date-order", help="Read dates such as 11/12/2026 in this order.")
    ] = None,
    format_: Annotated[
        FileFormat | None, typer.Option("--format", help="Read this format (default: detect it).")
    ] = None,
    encoding: Annotated[str | None, typer.Option("--encoding", help="Read this encoding (default: detect it).")] = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Send the posts of a file to Kafka; rows that cannot be used are reported and skipped.

    Example: opinionwatch ingest posts.jsonl --topic opinion.forum --rate 500
    """
    from pipeline.domain.post import document_id
    from pipeline.ingest.columns import Rules
    from pipeline.ingest.post_files import Intake, checked, posts_of
    from pipeline.kafka import admin

    kafka = settings_of(config).kafka
    day_first = None if date_order is None else date_order is DateOrder.dmy
    rules = Rules(source, "", _zone(zone), day_first, _columns(map_ or []))
    intake = Intake()
    with posts_of(file, rules, format_, encoding) as (read_as, entries):
        if read_as not in {"feed", "utf-8", "utf-8-sig"}:
            err.print(f"{file} is read as {read_as}; --encoding selects another encoding", markup=False)
        with admin.producer(kafka) as send, _bar() as bar:
            task = bar.add_task(file.name, total=None)
            started = time.monotonic()
            for entry in entries:
                bar.advance(task)
                intake.see(entry)
                try:
                    post = checked(entry, file, round(time.time() * 1000))
                except Poison as poison:
                    intake.reject(entry, poison.reason)
                    if intake.rejected.total() <= _SHOWN:
                        err.print(f"{file}:{entry.line}: {entry.problem or poison}", markup=False)
                    continue
                send(topic, entry.value, key=document_id(post.source, post.native_id or post.url).encode())
                intake.take(entry)
                if rate and (early := started + intake.produced / rate - time.monotonic()) > 0:
                    time.sleep(early)
    Presenter(as_json).show(intake.to_json(), intake.lines())
    intake.verify(file)


def _zone(name: str) -> tzinfo:
    try:
        return UTC if name.upper() == "UTC" else ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise Fatal(f"--zone: {name!r} is not a time zone", "write e.g. Asia/Shanghai or UTC", EXIT_USAGE) from None


def _columns(options: list[str]) -> tuple[tuple[str, str], ...]:
    """Pairs of a field and its column; raises `Fatal` for an option that is not FIELD=COLUMN."""
    from pipeline.ingest.columns import ALIASES

    pairs = [(name.strip(), column.strip()) for name, _, column in (x.partition("=") for x in options)]
    for (name, _), option in zip(pairs, options, strict=True):
        if name not in ALIASES or "=" not in option:
            fields = ", ".join(ALIASES)
            raise Fatal(f"--map: {option!r} is not FIELD=COLUMN", f"write one of these fields: {fields}", EXIT_USAGE)
    return tuple(pairs)


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
