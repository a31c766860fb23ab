"""The posts that a measurement reads: distinct texts of the demo's feed or of a file."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

from models.text import content_hash
from pipeline.classify.codec import decode
from pipeline.cli.terminal import err
from pipeline.demo.feed import Item, generate
from pipeline.demo.play import read_feed
from pipeline.domain.errors import Poison
from pipeline.domain.post import Origin, Record


def distinct_items(feed: Path | None, limit: int) -> list[Item]:
    """At most `limit` posts of the file, or of the demo where it is None, that differ in their normalised text."""
    kept: dict[str, Item] = {}
    for item in generate() if feed is None else read_feed(feed, "opinion.forum", err.print):
        try:
            text = text_of_item(item)
        except Poison:
            continue
        kept.setdefault(content_hash(text), item)
    return list(kept.values())[:limit]


def with_reposts(items: list[Item], share: float) -> list[Item]:
    """As many posts, where a `share` of them repeats an earlier post at a random later time."""
    rng = random.Random(23)  # noqa: S311
    fresh = items[: max(1, round(len(items) * (1 - share)))]
    placed = [(place / len(fresh), item) for place, item in enumerate(fresh)]
    for number in range(len(items) - len(fresh)):
        place, original = placed[rng.randrange(len(fresh))]
        post = json.loads(original.value)
        post |= {"id": f"repost-{number}", "text": f"RT @someone: {text_of_item(original)}", "title": ""}
        made = replace(items[0], value=json.dumps(post, ensure_ascii=False).encode())
        placed.append((rng.uniform(place, 1), made))
    return [item for _, item in sorted(placed, key=lambda pair: pair[0])]


def text_of_item(item: Item) -> str:
    """Raises `Poison` for an item that is not a post."""
    return decode(Record(Origin(item.topic, 0, 0), item.timestamp_ms, item.value)).full_text
