"""Reads JSON Feeds into rows named as the contract names fields. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from models.files.encodings import FileError
from models.files.rows import BadRow, Row
from pipeline.ingest.feed_text import decoded
from pipeline.ingest.markup import reader_text


def read_json_feed(data: bytes, name: str, encoding: str | None) -> tuple[str, Iterator[Row | BadRow]]:
    """Returns the feed's title ("" if it has none) and its items; raises `FileError`."""
    try:
        feed = json.loads(decoded(data, name, encoding).lstrip("\ufeff"))
        items = feed["items"]
    except (ValueError, RecursionError, KeyError) as error:
        raise FileError(f"{name}: is not a JSON Feed ({type(error).__name__})", "use a feed with 'items'") from None
    return reader_text(str(feed.get("title") or ""))[:200], (_of_json(n, x) for n, x in enumerate(_items(items), 1))


def _of_json(number: int, item: Any) -> Row | BadRow:
    if not isinstance(item, dict):
        return BadRow(number, "the item is not an object")
    authors = [x for x in [*_items(item.get("authors")), item.get("author")] if isinstance(x, dict)]
    text = item.get("content_text") or reader_text(str(item.get("content_html") or "")) or item.get("summary")
    post = {
        "id": item.get("id"),
        "url": item.get("url") or item.get("external_url"),
        "title": reader_text(str(item.get("title") or "")),
        "text": text,
        "author": ", ".join(str(x["name"]) for x in authors if x.get("name")),
        "published_at": item.get("date_published") or item.get("date_modified"),
        "lang": item.get("language"),
    }
    return Row(number, {k: v for k, v in post.items() if v})


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
