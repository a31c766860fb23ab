"""`python -m benchmarks.delivery [--records 100000] [--repeat 3] [--elasticsearch]`: records a second of one process.

A real Kafka with one topic of eight partitions, filled beforehand with small posts. In turns, each in a process and a
consumer group of its own, from the first record to the last:

aiokafka   the client alone
faust      stock Faust, `async for event in stream.events()`
delivery   our agent, with a handler that does nothing
flow       decode, dummy classifier, a store that keeps nothing, progress to Kafka
index      the same into Elasticsearch
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import shutil
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import aiokafka
import faust
import numpy as np

from models.engine import Encoded
from models.heads import Prediction
from pipeline.classify.dead_letter_limit import DeadLetterLimit
from pipeline.classify.flow import Flow
from pipeline.classify.stage import Classifier, ClassifyStage
from pipeline.classify.subjects import SubjectMatcher
from pipeline.domain.counting import NegativeDefinition
from pipeline.domain.metrics import Metrics
from pipeline.domain.post import Outcome, Record
from pipeline.domain.progress import Progress
from pipeline.kafka import admin
from pipeline.kafka.agent import consume
from pipeline.kafka.app import make_app, raw_topic
from pipeline.kafka.strict import StrictApp
from pipeline.kafka.writers import DeadTopic, ProgressTopic
from pipeline.settings import FlowSettings, KafkaSettings
from pipeline.store.elasticsearch.store import ElasticsearchStore
from tests.builders import HEADS, DummyClassifier
from tests.services.elasticsearch import ElasticsearchServer
from tests.services.kafka import Kafka

TOPIC = "bench.posts"


class Constant(DummyClassifier):
    """The same answer for every text."""

    _answer = Prediction(
        HEADS, {"topic": np.array([0.2, 0.8], np.float32), "sentiment": np.array([0.1, 0.8, 0.1], np.float32)},
        "dummy", "1",
    )  # fmt: skip

    def infer(self, encoded: Encoded) -> list[Prediction]:
        return [self._answer] * len(encoded.texts)


class NoStore:
    """Takes everything and keeps nothing."""

    def index(self, posts: Sequence[Any], _ingested_at: Any, _version: int) -> list[Outcome]:
        return [Outcome.INDEXED] * len(posts)

    def save_progress(self, _progress: Sequence[Progress]) -> None:
        """Kept nowhere."""

    def all_progress(self) -> list[Progress]:
        return []


class Clock:
    """Records a second, from the first record to the last."""

    def __init__(self, wanted: int) -> None:
        self._wanted, self._seen, self._first = wanted, 0, 0.0
        self.rate: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def add(self, n: int) -> None:
        self._first = self._first or time.perf_counter()
        self._seen += n
        if self._seen >= self._wanted and not self.rate.done():
            self.rate.set_result(self._wanted / (time.perf_counter() - self._first))


def settings(address: str) -> KafkaSettings:
    tag = uuid.uuid4().hex[:8]
    return KafkaSettings(
        bootstrap_servers=address, topics=[TOPIC], group=tag, dead_topic="bench.dead", progress_topic="bench.progress"
    )


async def _aiokafka(address: str, _: str, wanted: int) -> float:
    clock = Clock(wanted)
    consumer = aiokafka.AIOKafkaConsumer(
        TOPIC, bootstrap_servers=address, group_id=uuid.uuid4().hex, auto_offset_reset="earliest", max_poll_records=512
    )
    await consumer.start()
    while not clock.rate.done():
        for records in (await consumer.getmany(timeout_ms=1000)).values():
            clock.add(len(records))
    await consumer.stop()
    return await clock.rate


async def _faust(address: str, _: str, wanted: int) -> float:
    clock = Clock(wanted)
    app = faust.App(
        f"stock-{uuid.uuid4().hex[:8]}", broker=f"kafka://{address}", store="memory://", web_enabled=False,
        topic_allow_declare=False, topic_disable_leader=True, consumer_auto_offset_reset="earliest",
    )  # fmt: skip
    topic = app.topic(TOPIC, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")

    async def agent(stream: Any) -> None:
        async for _event in stream.events():
            clock.add(1)

    app.agent(topic)(agent)
    return await _until(app, clock)


async def _delivery(address: str, _: str, wanted: int) -> float:
    clock, kafka = Clock(wanted), settings(address)
    app = make_app("classify", kafka, address)

    async def handle(records: Sequence[Record]) -> None:
        clock.add(len(records))

    consume(app, raw_topic(app, TOPIC), handle, FlowSettings(), clock.rate.set_exception)
    return await _until(app, clock)


def make_flow(app: StrictApp, kafka: KafkaSettings, classifier: Classifier, store: Any) -> Flow:
    """The flow of a classify worker with a store of the bench's."""
    metrics = Metrics()
    return Flow(
        classify_stage=ClassifyStage(
            classifier, SubjectMatcher({"Nova": ["nova"]}), NegativeDefinition(), metrics, 64_000_000
        ),
        store=store,
        dead_letters=DeadTopic(raw_topic(app, kafka.dead_topic), app),
        progress=ProgressTopic(app, raw_topic(app, kafka.progress_topic)),
        dead_letter_limit=DeadLetterLimit(10, 1.0),
        metrics=metrics,
        executor=ThreadPoolExecutor(4),
    )


async def _flow(address: str, _: str, wanted: int, store: Any = None) -> float:
    clock, kafka = Clock(wanted), settings(address)
    app = make_app("classify", kafka, address)
    flow = make_flow(app, kafka, Constant(), store or NoStore())

    async def handle(records: Sequence[Record]) -> None:
        await flow.process(records)
        clock.add(len(records))

    consume(app, raw_topic(app, TOPIC), handle, FlowSettings(), clock.rate.set_exception)
    return await _until(app, clock)


async def _index(address: str, url: str, wanted: int) -> float:
    return await _flow(address, url, wanted, ElasticsearchStore(url))


async def _until(app: Any, clock: Clock) -> float:
    await app.start()
    rate = await clock.rate
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(app.stop(), 10)
    return rate


KINDS: dict[str, Callable[..., Any]] = {
    "aiokafka": _aiokafka, "faust": _faust, "delivery": _delivery, "flow": _flow, "index": _index,
}  # fmt: skip


def measure(kind: str, address: str, url: str, wanted: int) -> float:
    logging.disable(logging.CRITICAL)
    return float(asyncio.run(KINDS[kind](address, url, wanted)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.delivery")
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--kinds", default="faust,delivery,flow")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    kinds = options.kinds.split(",")
    folders = [Path(tempfile.mkdtemp(prefix="bench-")) for _ in range(2)]
    kafka = Kafka(folders[0])
    elasticsearch = ElasticsearchServer(folders[1]) if "index" in kinds else None
    rates: dict[str, list[float]] = {kind: [] for kind in kinds}
    try:
        kafka.start()
        made = settings(kafka.address).model_copy(update={"partitions": 8})
        admin.ensure_topics(made)
        with admin.producer(made) as send:
            for i in range(options.records):
                at = f"2026-03-02T{i // 3600 % 24:02}:{i // 60 % 60:02}:{i % 60:02}Z"
                post = {"v": 1, "id": str(i), "source": "bench", "text": f"plain words {i}", "published_at": at}
                send(TOPIC, json.dumps(post).encode(), partition=i % 8)
        for number in range(options.repeat):
            for kind in kinds:
                if kind == "index" and elasticsearch:
                    if not number:
                        elasticsearch.start()
                    elasticsearch.empty()
                    ElasticsearchStore(elasticsearch.url).setup()
                url = elasticsearch.url if elasticsearch else ""
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                    rate = pool.submit(measure, kind, kafka.address, url, options.records).result()
                rates[kind].append(rate)
                print(f"{number + 1}/{options.repeat} {kind:9} {rate:10,.0f} records/s", flush=True)
    finally:
        kafka.process.kill()
        if elasticsearch:
            elasticsearch.process.kill()
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
    base = statistics.median(rates.get("faust", [float("nan")]))
    for kind, found in rates.items():
        median = statistics.median(found)
        print(f"{kind:9} median {median:10,.0f} ({min(found):,.0f} to {max(found):,.0f}), {median / base:.2f} of faust")
    if options.json:
        print(json.dumps(rates))


if __name__ == "__main__":
    main()
