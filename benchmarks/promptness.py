"""`python -m benchmarks.promptness [--minutes 30] [--brands 24]`: from the evidence in the index to the receiver.

Real Kafka, Elasticsearch, workers and model, in real time. Nine days of the brands stand in the index; then posts come
through Kafka by the clock, and one brand after the other gets a crisis. Of each: the seconds from its last post before
the end of the bucket that fired, as the index dates it, to the message at the receiver; and from its first post.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from pipeline.domain.post import ScoredPost
from pipeline.kafka import admin
from tests.builders import START, scored
from tests.chaos.oracle import kafka_of
from tests.chaos.services import Services
from tests.services.receiver import Receiver, receiving
from tests.system import System

HISTORY, PER_HOUR, CRISIS_PER_HOUR, SHARE = timedelta(days=9), 60.0, 300.0, 0.2
CALM = "{} opens its office number {} in Berlin on Thursday"
ANGRY = "Terrible: my new {} caught fire while charging, support hung up on me, worst company ever, case {}"
LAST_CRISIS = timedelta(minutes=12)


def history(system: System, brands: list[str], end: datetime) -> None:
    rng = random.Random(1)
    minutes = HISTORY / timedelta(minutes=1)
    before = (end - HISTORY - START) / timedelta(minutes=1)
    rows: list[ScoredPost] = []
    for brand in brands:
        for _ in range(round(minutes / 60 * PER_HOUR)):
            mood = "negative" if rng.random() < SHARE else "neutral"
            number = len(rows)
            at = before + rng.uniform(0, minutes)
            rows.append(scored(number, minute=at, text=f"old {number}", sentiment=mood, subjects=[brand]))
    for at in range(0, len(rows), 5000):
        system.store.index(rows[at : at + 5000], end, 1)
    print(f"{len(rows):,} posts of {HISTORY.days} days stand in the index", flush=True)


def play(system: System, brands: list[str], minutes: float) -> dict[str, float]:
    """Posts by the clock; when the first post of each crisis was sent, in seconds since the epoch."""
    rng, began, number = random.Random(2), time.time(), 0
    last = minutes * 60 - LAST_CRISIS.total_seconds()
    starts = {brand: began + last * i / max(1, len(brands) - 1) for i, brand in enumerate(brands)}
    first: dict[str, float] = {}
    with admin.producer(kafka_of(system)) as send:
        while (now := time.time()) < began + minutes * 60:
            due = [(b, CALM if rng.random() > SHARE else ANGRY) for b in brands if rng.random() < PER_HOUR / 3600]
            for brand, start in starts.items():
                if now >= start and rng.random() < CRISIS_PER_HOUR / 3600:
                    first.setdefault(brand, now)
                    due.append((brand, ANGRY))
            for brand, text in due:
                number += 1
                post = {"v": 1, "id": f"live-{number}", "source": "test", "text": text.format(brand, number)}
                send(system.topic, json.dumps({**post, "published_at": datetime.now(UTC).isoformat()}).encode())
            time.sleep(max(0.0, now + 1 - time.time()))
    return first


def waits(system: System, receiver: Receiver, first: dict[str, float]) -> list[tuple[float, float]]:
    """Of each crisis that was told: seconds since its evidence was in the index, and since its first post."""
    found = []
    for key, at in zip(receiver.keys, receiver.at, strict=True):
        if not key.endswith("-opened"):
            continue
        brand, _, fired = key.removeprefix("subject:").partition("#")[0].partition("@")
        end = datetime.strptime(fired, "%Y%m%dT%H%MZ").replace(tzinfo=UTC)
        counted = [d for d in system.store.documents(end - timedelta(hours=1), end) if brand in d.scored.subjects]
        indexed = max(d.ingested_at.timestamp() for d in counted)
        found.append((at - indexed, at - first.get(brand, float("nan"))))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.promptness")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--brands", type=int, default=24)
    options = parser.parse_args()
    brands = [f"Brand{number:02}" for number in range(options.brands)]
    services = Services()
    try:
        with receiving() as receiver:
            system = System(services.broker("one"), services.elasticsearch.url, Path(tempfile.mkdtemp(prefix="bench-")))
            hook = {"name": "pager", "url": receiver.url, "allow_private": True}
            keys = ["topic:*", "subject:*|topic:*"]  # all brands stand in one topic, which would explain them
            system.env |= {
                "OPINIONWATCH_SUBJECTS": json.dumps({brand: [brand] for brand in brands}),
                "OPINIONWATCH_ALERTS__IDLE_S": "15",
                "OPINIONWATCH_ALERTS__GROUP_ABOVE": "1000",  # each is to have a message of its own
                "OPINIONWATCH_ALERTS__POSTS_PER_VOICE": "0",  # the posts are near-copies of each other
                "OPINIONWATCH_ALERTS__WEBHOOKS": json.dumps([hook]),
                "OPINIONWATCH_ALERTS__RULES": json.dumps([{"keys": keys, "watch": False}]),
            }
            system.cli("setup")
            history(system, brands, datetime.now(UTC))
            system.run("classify")
            system.run("alert")
            first = play(system, brands, options.minutes)
            time.sleep(90)
            system.store.refresh()
            found = waits(system, receiver, first)
            for worker in system.workers:
                worker.kill()
    finally:
        services.close()
    evidence, whole = (np.array([w[i] for w in found]) for i in (0, 1))
    print(f"{len(found)} of {len(first)} crises told, {len(receiver.keys)} messages")
    print(
        f"seconds since the evidence was in the index: median {statistics.median(evidence):.1f}, "
        f"p95 {np.quantile(evidence, 0.95):.1f}, worst {evidence.max():.1f}"
    )
    print(f"minutes since the first post of the crisis: median {np.nanmedian(whole) / 60:.1f}")
    return 0 if np.quantile(evidence, 0.95) < 60 else 1


if __name__ == "__main__":
    raise SystemExit(main())
