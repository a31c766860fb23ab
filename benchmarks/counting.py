"""`python -m benchmarks.counting [--millions 10]`: what the alert role asks of an index that holds months of posts.

A real Elasticsearch with the real mappings; documents have the fields that are counted, over 28 days of event time,
30 topics and 40 subjects. The queries are those of the alert role: the two hours that every evaluation reads again, a
day of catching up, the 28 days that are learned from at a take-over (at first, and once their counts are kept), and the
habits of the sources.
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

from pipeline.alerting.counting.count_cache import CountCache
from pipeline.alerting.counting.source_outage import history_start
from pipeline.domain.counting import NegativeDefinition
from pipeline.store.elasticsearch.store import ElasticsearchStore
from tests.services.elasticsearch import ElasticsearchServer

START, DAYS, BULK = datetime(2026, 3, 2, tzinfo=UTC), 28, 10_000
SENTIMENTS = ("negative", "neutral", "positive")


def load(client: Elasticsearch, index: str, posts: int) -> None:
    client.indices.put_settings(index=index, settings={"refresh_interval": "-1"})
    rng = np.random.default_rng(1)
    create = orjson.dumps({"index": {}})
    for at in range(0, posts, BULK):
        n = min(BULK, posts - at)
        seconds = rng.uniform(0, DAYS * 86_400, n)
        topics, subjects, sources = rng.zipf(1.5, n) % 30, rng.zipf(1.5, n) % 60, rng.zipf(1.3, n) % 300
        moods, reposts = rng.choice(3, n, p=[0.2, 0.5, 0.3]), rng.random(n) < 0.3
        lines = []
        for i in range(n):
            document = {
                "@timestamp": (START + timedelta(seconds=float(seconds[i]))).isoformat(),
                "topic": f"topic{topics[i]}",
                "subjects": [f"brand{subjects[i]}"] if subjects[i] < 40 else [],
                "source": f"source{sources[i]}",
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
    posts = int(parser.parse_args().millions * 1e6)
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    server = ElasticsearchServer(folder)
    try:
        server.start()
        store = ElasticsearchStore(server.url)
        store.setup()
        client = Elasticsearch(server.url, request_timeout=120)
        index = "opinion-posts-2026.03"
        client.indices.create(index=index)
        load(client, index, posts)
        size = client.indices.stats(index=index)["_all"]["total"]["store"]["size_in_bytes"]
        print(f"{store.post_count():,} posts, {size / 1e9:.2f} GB")
        end, rule = START + timedelta(days=DAYS), NegativeDefinition()
        asked: dict[str, Callable[[], object]] = {
            "two hours": lambda: store.counts(end - timedelta(hours=2), end, rule),
            "a day": lambda: store.counts(end - timedelta(days=1), end, rule),
            "28 days, read": lambda: list(CountCache(store, rule, keep=False).days(START, end)),
            "28 days, read and kept": lambda: list(CountCache(store, rule, keep=True).days(START, end)),
            "28 days, kept": lambda: list(CountCache(store, rule, keep=True).days(START, end)),
            "habits of the sources": lambda: store.source_hours(history_start(end), end),
        }
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
