"""`opinionwatch setup`, `ingest` and `status`."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline import kafka_tools
from pipeline.codec import decode
from pipeline.commands.common import AsJson, Config, err, out, print_json, settings_of
from pipeline.errors import Poison
from pipeline.feeds import read_posts
from pipeline.posts import Origin, Record, document_id
from pipeline.status import from_store
from pipeline.store.open import open_store

_SHOWN = 20


def setup(config: Config = None) -> None:
    """Creates topics, index templates, indices and aliases; what is there already stays as it is.

    Example: opinionwatch setup --config opinionwatch.toml
    """
    settings = settings_of(config)
    made = open_store(settings.store).setup()
    if not settings.embedded:
        made += kafka_tools.ensure_topics(settings.kafka)
    for line in made:
        out.print(f"created {line}", markup=False)
    if not made:
        out.print("nothing to create: everything is there")


def ingest(
    file: Annotated[Path, typer.Argument(help="JSONL, CSV (.csv) or RSS/Atom (.xml, .rss, .atom); - reads JSONL.")],
    topic: Annotated[str, typer.Option("--topic", help="The topic to send to.")],
    rate: Annotated[float, typer.Option("--rate", min=0, help="Posts a second; 0: as fast as it goes.")] = 0.0,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Sends posts from a file to Kafka; a line that is no post is named and left out.

    Example: opinionwatch ingest posts.jsonl --topic opinion.forum --rate 500
    """
    kafka = settings_of(config).kafka
    produced, rejected = 0, Counter[str]()
    with kafka_tools.producer(kafka) as send, _bar() as bar:
        task = bar.add_task(file.name, total=_lines(file))
        started = time.monotonic()
        for number, raw in read_posts(file):
            bar.advance(task)
            try:
                post = decode(Record(Origin(file.name, 0, number), round(time.time() * 1000), raw))
            except Poison as poison:
                rejected[poison.reason] += 1
                if rejected.total() <= _SHOWN:
                    err.print(f"{file}:{number}: {poison}", markup=False)
                continue
            send(topic, raw, key=document_id(post.source, post.native_id or post.url).encode())
            produced += 1
            if rate and (early := started + produced / rate - time.monotonic()) > 0:
                time.sleep(early)
    summary: dict[str, Any] = {"produced": produced, "rejected": rejected.total(), "reasons": dict(rejected)}
    if as_json:
        print_json(summary)
    else:
        out.print(f"produced {produced}, rejected {rejected.total()}")


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)


def _lines(file: Path) -> int | None:
    if str(file) == "-" or not file.is_file() or file.suffix.lower() not in {".jsonl", ".csv"}:
        return None
    with file.open("rb") as source:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: source.read(1 << 20), b""))


def status(as_json: AsJson = False, config: Config = None) -> None:
    """Lag, counts, dead letters, open alerts and the model, over all workers and restarts.

    Example: opinionwatch status --json
    """
    settings = settings_of(config)
    found = from_store(open_store(settings.store))
    if not settings.embedded:
        rows = kafka_tools.offsets(settings.kafka)
        found["lag"] = sum(end - committed for _, _, committed, end in rows)
        found["partitions"] = [
            {"topic": t, "partition": p, "committed": committed, "end": end} for t, p, committed, end in rows
        ]
    if as_json:
        print_json(found)
        return
    for name in ("consumed", "indexed", "duplicate", "dead", "in_flight", "lag", "open_alerts", "model"):
        out.print(f"{name:14} {found[name]}", markup=False)
    if found["silent_sources"]:
        out.print(f"{'silent sources':14} {', '.join(found['silent_sources'])}", markup=False)
