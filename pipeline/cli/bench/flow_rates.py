"""Posts per second of the classify role and of the engine alone, each in its own process."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

from models.engine import OnnxEngine
from models.json_types import JsonObject
from pipeline.classify.model_provider import open_classifier
from pipeline.cli.bench.items import distinct_items, text_of_item, with_reposts
from pipeline.cli.terminal import err
from pipeline.demo.feed import Item
from pipeline.demo.play import Session, play
from pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class Spread:
    """The repetitions of one figure."""

    median: float
    min: float
    max: float


@dataclass(frozen=True, slots=True)
class FlowRates:
    """The figures by name, over repetitions with `posts` posts each."""

    posts: int
    model: str
    figures: dict[str, Spread]

    def to_json(self) -> JsonObject:
        """The object that `bench flow --json` prints."""
        return {"posts": self.posts, "model": self.model, **{name: asdict(each) for name, each in self.figures.items()}}


def flow_rates(settings: Settings, feed: Path | None, posts: int, repeat: int, reposts: float) -> FlowRates:
    """Median, lowest and highest posts per second of both, and their ratio, over `repeat` repetitions."""
    items = distinct_items(feed, posts)
    rows: list[dict[str, float]] = []
    for number in range(repeat):
        bare, whole = _alone(_bare, settings, items), _alone(_whole, settings, items)
        row = {"engine_posts_per_s": bare, "flow_posts_per_s": whole, "ratio": whole / bare}
        if reposts:
            again = _alone(_whole, settings, with_reposts(items, reposts))
            row |= {"with_reposts_posts_per_s": again, "with_reposts_ratio": again / whole}
        rows.append(row)
        err.print(f"{number + 1}/{repeat}: engine {bare:.0f}/s, flow {whole:.0f}/s, ratio {whole / bare:.2f}")
    by_name = {name: [row[name] for row in rows] for name in rows[0]}
    figures = {name: Spread(round(statistics.median(x), 3), min(x), max(x)) for name, x in by_name.items()}
    return FlowRates(len(items), settings.model.bundle, figures)


def _alone(measure: Callable[[Settings, list[Item]], float], settings: Settings, items: list[Item]) -> float:
    """Measures in a new process, where nothing of an earlier measurement is still running."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, settings, items).result()


def _bare(settings: Settings, items: list[Item]) -> float:
    classifier, texts = open_classifier(settings.model), [text_of_item(item) for item in items]
    _classify(classifier, texts, settings.flow.batch_records)
    started = time.monotonic()
    _classify(classifier, texts, settings.flow.batch_records)
    return len(texts) / (time.monotonic() - started)


def _classify(classifier: OnnxEngine, texts: list[str], batch: int) -> None:
    """Callers run it once before they time it: OpenVINO compiles each shape of a batch when it first sees it."""
    for start in range(0, len(texts), batch):
        classifier.predict(texts[start : start + batch])


def _whole(settings: Settings, items: list[Item]) -> float:
    began = finished = 0.0

    @asynccontextmanager
    async def attend(session: Session) -> AsyncIterator[None]:
        """Measures from the first record on: the embedded broker answers an empty fetch only after 1.5 s."""
        nonlocal began, finished

        async def first() -> float:
            while not (session.workers.classify and session.workers.classify.flow.in_flight):
                await asyncio.sleep(0.002)
            return time.monotonic()

        waiting = asyncio.create_task(first())
        yield
        began, finished = await waiting, session.finished or time.monotonic()

    classifier = open_classifier(settings.model)
    _classify(classifier, [text_of_item(item) for item in items], settings.flow.batch_records)
    summary = asyncio.run(play(settings, {}, items, classifier, seconds=0, attend=attend, alerting=False))
    return summary.consumed / (finished - began)
