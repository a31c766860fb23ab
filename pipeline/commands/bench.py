"""`opinionwatch bench flow`: figures side by side in one run."""

from __future__ import annotations

import asyncio
import logging
import statistics
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import typer

from models.text import content_hash
from pipeline.classifier import open_classifier
from pipeline.codec import decode
from pipeline.commands.common import AsJson, Config, err, out, print_json, settings_of
from pipeline.demo.feed import Item, generate
from pipeline.demo.play import Session, play, read_feed
from pipeline.errors import Poison
from pipeline.logs import configure
from pipeline.posts import Origin, Record
from pipeline.settings import Settings

app = typer.Typer(help="Measurements: ratios, medians and spread from one run.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Measurements."""


@app.command()
def flow(
    feed: Annotated[Path | None, typer.Option("--feed", help="JSONL of posts (default: the demo's).")] = None,
    posts: Annotated[int, typer.Option("--posts", min=100, help="Distinct posts a repetition.")] = 4000,
    repeat: Annotated[int, typer.Option("--repeat", min=1)] = 3,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Posts a second end to end (broker, flow, store) against the bare engine on the same distinct texts.

    Example: opinionwatch bench flow --repeat 5
    """
    configure(logging.ERROR)
    settings = settings_of(config)
    items = _distinct(generate() if feed is None else read_feed(feed, "opinion.forum", err.print), posts)
    rows: list[dict[str, float]] = []
    for number in range(repeat):
        bare, whole = _alone(_bare, settings, items), _alone(_whole, settings, items)
        rows.append({"engine_posts_per_s": bare, "flow_posts_per_s": whole, "ratio": whole / bare})
        err.print(f"{number + 1}/{repeat}: engine {bare:.0f}/s, flow {whole:.0f}/s, ratio {whole / bare:.2f}")
    summary: dict[str, Any] = {"posts": len(items), "model": settings.model.bundle}
    for name in rows[0]:
        values = sorted(row[name] for row in rows)
        summary[name] = {"median": round(statistics.median(values), 3), "min": values[0], "max": values[-1]}
    if as_json:
        print_json(summary)
        return
    out.print(f"{summary['posts']} distinct posts, {repeat} repetitions, {summary['model']}")
    for name in rows[0]:
        s = summary[name]
        out.print(f"{name:20} median {s['median']:.2f}  (min {s['min']:.2f}, max {s['max']:.2f})")


def _distinct(items: list[Item], limit: int) -> list[Item]:
    kept: dict[str, Item] = {}
    for item in items:
        try:
            text = _text(item)
        except Poison:
            continue
        kept.setdefault(content_hash(text), item)
    return list(kept.values())[:limit]


def _text(item: Item) -> str:
    return decode(Record(Origin(item.topic, 0, 0), item.timestamp_ms, item.value)).full_text


def _alone(measure: Callable[[Settings, list[Item]], float], settings: Settings, items: list[Item]) -> float:
    """In a process of its own, so that nothing of the measurement before is left running."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, settings, items).result()


def _bare(settings: Settings, items: list[Item]) -> float:
    classifier, texts = open_classifier(settings.model), [_text(item) for item in items]
    classifier.predict(texts[:64])
    batch = settings.flow.batch_records
    started = time.monotonic()
    for at in range(0, len(texts), batch):
        classifier.predict(texts[at : at + batch])
    return len(texts) / (time.monotonic() - started)


def _whole(settings: Settings, items: list[Item]) -> float:
    @asynccontextmanager
    async def attend(_: Session) -> AsyncIterator[None]:
        yield

    classifier = open_classifier(settings.model)
    classifier.predict([_text(item) for item in items[:64]])
    summary = asyncio.run(play(settings, {}, items, classifier, seconds=0, attend=attend))
    return float(summary["posts_per_s"])
