"""`python -m benchmarks.counting [--millions 10] [--days 28]`: what the alert role asks of an index of months of posts.

A real Elasticsearch with the real mappings; documents have the fields that are counted, over the days of event time,
30 topics, 40 subjects and 200,000 authors, some of whom write much; one post in twenty is a near-copy. The queries are
those of the alert role: the two hours that every evaluation reads again, the loud voices of a window of six hours, both
together as the evaluation asks for them, a day of catching up, all days that are learned from at a take-over (at first,
and once their counts are kept), and the habits of the sources. Fewer posts in as many fewer days have the density of
the larger index, so that a window costs as much.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import orjson
from elasticsearch import Elasticsearch

from pipeline.alerting.counting.capped_counts import capped_counts
from pipeline.alerting.counting.count_cache import CountCache
from pipeline.alerting.counting.source_outage import history_start
from pipeline.domain.counting import NegativeDefinition
from pipeline.store.elasticsearch.store import ElasticsearchStore
from tests.services.elasticsearch import ElasticsearchServer

START, BULK, AUTHORS = datetime(2026, 3, 2, tzinfo=UTC), 10_000, 200_000
SENTIMENTS = ("negative", "neutral", "positive")


def load(client: Elasticsearch, index: str, posts: int, days: float) -> None:
    client.indices.put_settings(index=index, settings={"refresh_interval": "-1"})
    rng = np.random.default_rng(1)
    create = orjson.dumps({"index": {}})
    for at in range(0, posts, BULK):
        n = min(BULK, posts - at)
        seconds = rng.uniform(0, days * 86_400, n)
        topics, subjects, sources = rng.zipf(1.5, n) % 30, rng.zipf(1.5, n) % 60, rng.zipf(1.3, n) % 300
        moods, reposts = rng.choice(3, n, p=[0.2, 0.5, 0.3]), rng.random(n) < 0.3
        authors = (AUTHORS * rng.random(n) ** 2).astype(int)
        values, copied = rng.integers(0, 2**40, (n, 3)), rng.random(n) < 0.05
        values[copied] %= 1000
        lines = []
        for i in range(n):
            document = {
                "@timestamp": (START + timedelta(seconds=float(seconds[i]))).isoformat(),
                "topic": f"topic{topics[i]}",
                "subjects": [f"brand{subjects[i]}"] if subjects[i] < 40 else [],
                "source": f"source{sources[i]}",
                "author": f"author{authors[i]}",
                "families": [f"{value:011x}" for value in values[i]],
                "negative_score": 0.9 if moods[i] == 0 else 0.1,
                "labels": {"sentiment": SENTIMENTS[moods[i]]},
                "repost": bool(reposts[i]),
            }
            lines += [create, orjson.dumps(document)]
        answer = client.bulk(index=index, operations=cast("Any", lines))
        assert not answer["errors"], answer["items"][0]
        if at // BULK % 100 == 0:
            print(f"{(at + n) / 1e6:.1f} million indexed", flush=True)
    client.indices.put_settings(index=index, settings={"refresh_interval": None})
    client.indices.refresh(index=index)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.counting")
    parser.add_argument("--millions", type=float, default=10.0)
    parser.add_argument("--days", type=float, default=28.0)
    asked_for = parser.parse_args()
    posts, days = int(asked_for.millions * 1e6), asked_for.days
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    server = ElasticsearchServer(folder)
    try:
        server.start()
        store = ElasticsearchStore(server.url)
        store.setup()
        client = Elasticsearch(server.url, request_timeout=120)
        index = "opinion-posts-2026.03"
        client.indices.create(index=index)
        load(client, index, posts, days)
        size = client.indices.stats(index=index)["_all"]["total"]["store"]["size_in_bytes"]
        print(f"{store.post_count():,} posts, {size / 1e9:.2f} GB")
        end, rule = START + timedelta(days=days), NegativeDefinition()
        asked: dict[str, Callable[[], object]] = {
            "two hours": lambda: store.counts(end - timedelta(hours=2), end, rule),
            "loud voices of six hours": lambda: store.loud_voices(end - timedelta(hours=6), end, rule, 3),
            "two hours, no voice loud": lambda: capped_counts(store, end - timedelta(hours=2), end, rule),
            "a day": lambda: store.counts(end - timedelta(days=1), end, rule),
            "all days, read": lambda: list(CountCache(store, rule, keep=False).days(START, end)),
            "all days, read and kept": lambda: list(CountCache(store, rule, keep=True).days(START, end)),
            "all days, kept": lambda: list(CountCache(store, rule, keep=True).days(START, end)),
            "habits of the sources": lambda: store.source_hours(history_start(end), end),
        }
        loud = store.loud_voices(end - timedelta(hours=6), end, rule, 3)
        print(f"{len(loud):,} posts of loud voices in the last six hours")
        for name, ask in asked.items():
            seconds = []
            for _ in range(1 if "read" in name else 5):
                client.indices.clear_cache(index=index)
                started = time.perf_counter()
                ask()
                seconds.append(time.perf_counter() - started)
            print(f"{name:26} median {statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})")
    finally:
        server.process.kill()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
