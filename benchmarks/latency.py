"""`python -m benchmarks.latency FILE.jsonl [--seconds 30]`: how long a post is on its way through the classify role.

A real Kafka, the starter model, a store that keeps nothing (the index has its own time). Another process sends the
texts of FILE, each once a round and made unlike any before; from its sending to its handing over to the store:
alone, one post every 0.2 s at an idle worker; then at 80 % of what the worker took while more was sent than it can take
(sender and broker have their part of the cores then as later), once it has run so for ten seconds (before that the
sending process starts on the same cores, and a backlog of a second or two comes and goes).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import tempfile
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.delivery import TOPIC, NoStore, make_flow, settings
from models.bundle import load_bundle
from pipeline.domain.post import Outcome, ScoredPost
from pipeline.kafka import admin
from pipeline.kafka.agent import consume
from pipeline.kafka.app import make_app, raw_topic
from pipeline.kafka.partitions import assigned
from pipeline.settings import STARTER, FlowSettings, KafkaSettings
from tests.services.kafka import Kafka

#: Posts a second that no worker here keeps up with, and for how long.
FLOOD, FLOOD_S = 1200.0, 15.0
SETTLE_S = 10.0


def send(kafka: KafkaSettings, texts: list[str], per_s: float, seconds: float) -> None:
    """In its own process; the id of a post is the moment of its sending (the clock is the machine's)."""
    with admin.producer(kafka) as produce:
        started = time.monotonic()
        for number in range(int(per_s * seconds)):
            early = started + number / per_s - time.monotonic()
            if early > 0:
                time.sleep(early)
            text = f"{texts[number % len(texts)]} {uuid.uuid4().hex[:6]}"
            post = {"v": 1, "id": f"{time.monotonic():.6f}-{number}", "source": "bench", "text": text}
            produce(TOPIC, json.dumps(post, ensure_ascii=False).encode(), partition=number % 8)


class Watching(NoStore):
    """Notes how long each post was on its way, from `settle_s` after the first on."""

    def __init__(self, settle_s: float) -> None:
        self.took: list[float] = []
        self.seen = 0
        self._made, self._settle_s, self._since = time.monotonic(), settle_s, 0.0
        self._batches: list[tuple[float, int]] = []

    def index(self, posts: Sequence[ScoredPost], ingested_at: Any, version: int) -> list[Outcome]:
        now = time.monotonic()
        sent = [float(p.post.native_id.partition("-")[0]) for p in posts]
        sent = [at for at in sent if at > self._made]
        self._since = self._since or min(sent, default=0.0) + self._settle_s
        self.seen += len(sent)
        self.took += [now - at for at in sent if at >= self._since]
        self._batches.append((now, len(sent)))
        return super().index(posts, ingested_at, version)

    def rate(self, seconds: float) -> float:
        """Posts per second during the first `seconds` after the first batch, which does not count."""
        first, batches = self._batches[0][0], self._batches[1:]
        return sum(n for at, n in batches if at <= first + seconds) / seconds


async def watch(
    kafka: KafkaSettings, texts: list[str], per_s: float, seconds: float, settle_s: float = 0.0
) -> Watching:
    """What became of the posts; the worker is up before the first is sent."""
    store = Watching(settle_s)
    app = make_app("classify", kafka, kafka.bootstrap_servers)
    engine = load_bundle(STARTER)
    engine.predict(texts[:64])
    flow = make_flow(app, kafka, engine, store)
    loop = asyncio.get_running_loop()
    consume(app, raw_topic(app, TOPIC), flow.process, FlowSettings(), lambda _: loop.stop(), slack_s=flow.slack_s)
    await app.start()
    while not assigned(app, TOPIC):
        await asyncio.sleep(0.1)
    await asyncio.sleep(2)
    sender = get_context("spawn").Process(target=send, args=(kafka, texts, per_s, seconds))
    sender.start()
    wanted, ends = int(per_s * seconds), time.monotonic() + 3 * seconds + 60
    while store.seen < wanted and time.monotonic() < ends:
        await asyncio.sleep(0.2)
    sender.join()
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(app.stop(), 10)
    return store


def said(name: str, took: list[float]) -> str:
    p50, p99 = np.quantile(took, [0.5, 0.99]) * 1000
    return f"{name}: {len(took)} posts, median {p50:.0f} ms, p99 {p99:.0f} ms, worst {max(took) * 1000:.0f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency")
    parser.add_argument("file", type=Path)
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args()
    texts = [json.loads(line)["text"] for line in options.file.read_text("utf-8").splitlines()]
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    kafka = Kafka(folder)
    try:
        kafka.start()
        base = settings(kafka.address).model_copy(update={"partitions": 8})
        admin.ensure_topics(base)
        print(said("alone", asyncio.run(watch(base, texts, 5, options.seconds)).took), flush=True)
        most = asyncio.run(watch(base, texts, FLOOD, FLOOD_S)).rate(FLOOD_S - 1)
        took = asyncio.run(watch(base, texts, 0.8 * most, options.seconds + SETTLE_S, SETTLE_S)).took
        print(said(f"at 80 % of {most:.0f} posts/s", took), flush=True)
    finally:
        kafka.process.kill()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
