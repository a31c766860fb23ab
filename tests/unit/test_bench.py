"""What `bench flow` sends."""

from __future__ import annotations

import json

from pipeline.classify.codec import decode
from pipeline.cli.bench.items import with_reposts
from pipeline.demo.feed import Item
from pipeline.domain.post import Origin, Record
from tests.builders import START, record


def test_reposts_come_after_what_they_repeat() -> None:
    fresh = [Item("t", START, record(i, text=f"text number {i}").value) for i in range(400)]
    stream = with_reposts(fresh, 0.3)
    seen, repeated = set[str](), 0
    for item in stream:
        post = decode(Record(Origin("t", 0, 0), 0, item.value))
        if json.loads(item.value)["id"].startswith("repost"):
            assert post.content_hash in seen
            repeated += 1
        seen.add(post.content_hash)
    assert (len(stream), repeated, len(seen)) == (400, 120, 280)
