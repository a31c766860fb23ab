"""`opinionwatch setup`, `ingest` and `status`."""

from __future__ import annotations

import time
from datetime import UTC, tzinfo
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pipeline.cli.common import AsJson, Config, err, out, print_json, settings_of
from pipeline.domain.errors import EXIT_USAGE, Fatal, Poison
from pipeline.domain.post import document_id
from pipeline.ingest.columns import ALIASES, Rules
from pipeline.ingest.post_files import FileFormat, Intake, checked, posts_of
from pipeline.kafka import admin
from pipeline.service.status import from_store
from pipeline.store.factory import open_store

_SHOWN = 20


class DateOrder(StrEnum):
    """Which of two numbers is the day."""

    dmy = "dmy"
    mdy = "mdy"


def setup(config: Config = None) -> None:
    """Creates topics, index templates, indices and aliases; what is there already stays as it is.

    Example: opinionwatch setup --config opinionwatch.toml
    """
    settings = settings_of(config)
    steps = [open_store(settings.store).setup]
    if not settings.embedded:
        steps.append(lambda: admin.ensure_topics(settings.kafka))
    made = False
    for step in steps:  # what the first made is said, where the second fails
        for line in step():
            made = True
            out.print(f"created {line}", markup=False)
    if not made:
        out.print("nothing to create: everything is there")


def ingest(
    file: Annotated[
        Path,
        typer.Argument(help="JSONL, JSON, CSV, TSV, RSS, Atom or JSON Feed, also .gz, in any encoding; - reads stdin."),
    ],
    topic: Annotated[str, typer.Option("--topic", help="The topic to send to.")],
    rate: Annotated[float, typer.Option("--rate", min=0, help="Posts a second; 0: as fast as it goes.")] = 0.0,
    source: Annotated[str, typer.Option("--source", help="Source of posts that name none.")] = "",
    map_: Annotated[
        list[str] | None, typer.Option("--map", help="FIELD=COLUMN, e.g. text=内容; 'id=' uses none. Repeatable.")
    ] = None,
    zone: Annotated[str, typer.Option("--zone", help="Time zone of times that name none, e.g. Asia/Shanghai.")] = "UTC",
    date_order: Annotated[
        DateOrder | None, typer.Option("--date-order", help="Order of dates such as 11/12/2026.")
    ] = None,
    format_: Annotated[FileFormat | None, typer.Option("--format", help="In place of what the content says.")] = None,
    encoding: Annotated[str | None, typer.Option("--encoding", help="In place of what the content says.")] = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Sends posts from a file to Kafka; names what it cannot use, and sends the rest.

    Example: opinionwatch ingest posts.jsonl --topic opinion.forum --rate 500
    """
    kafka = settings_of(config).kafka
    day_first = None if date_order is None else date_order is DateOrder.dmy
    rules = Rules(source, "", _zone(zone), day_first, _given(map_ or []))
    intake = Intake()
    with posts_of(file, rules, format_, encoding) as (read_as, entries):
        if read_as not in {"feed", "utf-8", "utf-8-sig"}:
            err.print(f"{file}: read as {read_as}; --encoding names another encoding", markup=False)
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
    if as_json:
        print_json(intake.to_json())
    else:
        for line in intake.lines():
            out.print(line, markup=False)
    intake.verify(file)


def _zone(name: str) -> tzinfo:
    try:
        return UTC if name.upper() == "UTC" else ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise Fatal(
            f"--zone: {name!r} is not a time zone", "name one such as Asia/Shanghai or UTC", EXIT_USAGE
        ) from None


def _given(options: list[str]) -> tuple[tuple[str, str], ...]:
    pairs = [(name.strip(), column.strip()) for name, _, column in (x.partition("=") for x in options)]
    for (name, _), option in zip(pairs, options, strict=True):
        if name not in ALIASES or "=" not in option:
            fields = ", ".join(ALIASES)
            raise Fatal(f"--map: {option!r} is not FIELD=COLUMN", f"the fields are {fields}", EXIT_USAGE)
    return tuple(pairs)


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)


def status(as_json: AsJson = False, config: Config = None) -> None:
    """Lag, counts, dead letters, open alerts and the model, over all workers and restarts.

    Example: opinionwatch status --json
    """
    settings = settings_of(config)
    logs = None if settings.embedded else admin.logs(settings.kafka)
    found = from_store(open_store(settings.store), settings.kafka.topics, logs=logs)
    if not settings.embedded:
        rows = admin.offsets(settings.kafka)
        found["lag"] = sum(max(0, end - committed) for _, _, committed, end in rows)
        found["partitions"] = [
            {"topic": t, "partition": p, "committed": committed, "end": end} for t, p, committed, end in rows
        ]
    if as_json:
        print_json(found)
        return
    for name in ("consumed", "indexed", "duplicate", "dead", "in_flight", "lag", "open_alerts", "model"):
        out.print(f"{name:14} {found[name]}", markup=False)
    for place in found["waiting"]:
        name = f"{place['topic']}/{place['partition']}" + (f" since {place['since']}" if place["since"] else "")
        out.print(f"{'waiting':14} {name}: {place['reason']}; {place['remedy']}", markup=False)
    if found["retired"]:
        out.print(f"{'retired topics':14} {', '.join(found['retired'])}: counted, and no longer read", markup=False)
    if found["silent_sources"]:
        out.print(f"{'silent sources':14} {', '.join(found['silent_sources'])}", markup=False)
