"""`opinionwatch setup`, `check`, `ingest` and `status`."""

from __future__ import annotations

import importlib.metadata
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline import kafka_tools
from pipeline.alerting.notify.open import make_channels
from pipeline.classifier import open_classifier
from pipeline.codec import decode
from pipeline.commands.common import AsJson, Config, err, out, print_json, settings_of
from pipeline.errors import Fatal, PipelineError, Poison, Transient
from pipeline.feeds import read_posts
from pipeline.posts import Origin, Record, document_id
from pipeline.settings import Settings
from pipeline.status import from_store
from pipeline.store.open import open_store
from pipeline.subjects import SubjectMatcher

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


def check(as_json: AsJson = False, config: Config = None) -> None:
    """Connects to everything and verifies bundle and settings; each failure with its remedy.

    Example: opinionwatch check
    """
    settings = settings_of(config)
    checks: dict[str, Callable[[], str]] = {
        "runtime": _one_runtime,
        "model": lambda: _model(settings),
        "subjects": lambda: f"{len(settings.subjects)} subjects" if SubjectMatcher(settings.subjects) else "",
        "channels": lambda: ", ".join(c.name for c in make_channels(settings.alerts)),
        "store": lambda: open_store(settings.store).check(),
        "kafka": lambda: "embedded" if settings.embedded else kafka_tools.check_topics(settings.kafka),
    }
    report, code = {}, 0
    for name, run in checks.items():
        try:
            report[name] = {"ok": True, "detail": run()}
        except (PipelineError, ValueError) as error:
            report[name] = {"ok": False, "detail": str(error)}
            code = code or (error.exit_code if isinstance(error, Fatal) else 69 if isinstance(error, Transient) else 78)
    if as_json:
        print_json(report)
    else:
        for name, row in report.items():
            out.print(f"{'ok  ' if row['ok'] else 'FAIL'} {name}: {row['detail']}", markup=False)
    raise typer.Exit(code)


def _model(settings: Settings) -> str:
    model = open_classifier(settings.model)
    return f"{model.name} {model.version} from {settings.model.registry or settings.model.bundle}"


def _one_runtime() -> str:
    names = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")
    found = [n for n in names if any(importlib.metadata.distributions(name=n))]
    if len(found) > 1:
        raise Fatal(f"{' and '.join(found)} are installed and overwrite each other", "pip uninstall all but one")
    return found[0] if found else "no onnxruntime: pip install 'opinionwatch[cpu]'"


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
    logs = {} if settings.embedded else kafka_tools.logs(settings.kafka)
    found = from_store(open_store(settings.store), settings.kafka.topics, logs=logs)
    if not settings.embedded:
        rows = kafka_tools.offsets(settings.kafka)
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
