"""Files of posts -> the bytes of records: JSONL as it is, CSV and RSS/Atom turned into the contract's JSON."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from pipeline.errors import EXIT_USAGE, Fatal

_ATOM = "{http://www.w3.org/2005/Atom}"
_NUMBERS = ("reposts", "likes", "comments", "v")


def read_posts(file: Path) -> Iterator[tuple[int, bytes]]:
    """(line or entry number, bytes) of each post; the bytes of a bad line come as they are. Raises `Fatal`."""
    try:
        if str(file) == "-":
            yield from _lines(sys.stdin.buffer)
            return
        with file.open("rb") as source:
            if file.suffix.lower() == ".csv":
                yield from _csv(source, file)
            elif file.suffix.lower() in {".xml", ".rss", ".atom"}:
                yield from _feed(source.read(), file)
            else:
                yield from _lines(source)
    except OSError as error:
        raise Fatal(f"{file}: {error.strerror}", "give a JSONL, CSV or RSS/Atom file", EXIT_USAGE) from None


def _lines(source: Any) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(source, 1):
        if line.strip():
            yield number, line.rstrip(b"\r\n")


def _csv(source: Any, file: Path) -> Iterator[tuple[int, bytes]]:
    reader = csv.DictReader(TextIOWrapper(source, encoding="utf-8-sig", newline=""))
    try:
        for number, row in enumerate(reader, 2):
            if None in row:
                raise Fatal(f"{file}:{number}: has more values than columns", "quote commas in the text", EXIT_USAGE)
            post: dict[str, Any] = {k: v for k, v in row.items() if v}
            for name in _NUMBERS:
                if str(post.get(name, "")).isdigit():
                    post[name] = int(post[name])
            yield number, json.dumps(post, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise Fatal(f"{file}: is not UTF-8 (byte {error.start})", "convert the file to UTF-8", EXIT_USAGE) from None


def _feed(data: bytes, file: Path) -> Iterator[tuple[int, bytes]]:
    from defusedxml.ElementTree import fromstring

    try:
        root: Element = fromstring(data)
    except Exception as error:
        raise Fatal(f"{file}: is no RSS or Atom feed ({type(error).__name__})", "give a feed", EXIT_USAGE) from None
    source = root.findtext("channel/title") or root.findtext(f"{_ATOM}title") or file.stem
    for number, entry in enumerate([*root.iter("item"), *root.iter(f"{_ATOM}entry")], 1):
        link = entry.find(f"{_ATOM}link")
        when = _text(entry, "pubDate", f"{_ATOM}published", f"{_ATOM}updated")
        post = {
            "v": 1,
            "source": source,
            "kind": "news",
            "id": _text(entry, "guid", f"{_ATOM}id"),
            "url": _text(entry, "link") or (link.get("href", "") if link is not None else ""),
            "title": _text(entry, "title", f"{_ATOM}title"),
            "text": _text(entry, "description", f"{_ATOM}summary", f"{_ATOM}content"),
            "author": _text(entry, "author", f"{_ATOM}author/{_ATOM}name"),
            "published_at": _iso(when),
        }
        yield number, json.dumps({k: v for k, v in post.items() if v}, ensure_ascii=False).encode()


def _text(entry: Element, *names: str) -> str:
    return next((t.strip() for n in names if (t := entry.findtext(n)) and t.strip()), "")


def _iso(when: str) -> str:
    """RFC 822 times of RSS as ISO 8601; others as they are."""
    try:
        return parsedate_to_datetime(when).isoformat()
    except (TypeError, ValueError):
        return when
