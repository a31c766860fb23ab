"""Bytes of a record -> Post, or Poison with the reason. Pure: no clock, no I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from models.text import clean, content_hash
from pipeline.errors import Poison
from pipeline.posts import Post, Record, document_id

STAGE = "decode"
MAX_BYTES = 1_000_000
MAX_DEPTH = 32
MAX_TEXT = 100_000
MAX_EXTRA = 32
MAX_EXTRA_VALUE = 1_000
KINDS = frozenset({"news", "forum", "comment", "review"})
KNOWN = frozenset(
    {
        "v",
        "id",
        "source",
        "kind",
        "url",
        "title",
        "text",
        "author",
        "published_at",
        "lang",
        "reposts",
        "likes",
        "comments",
        "extra",
    }
)
#: `published_at` counts where it is no later than the record's time by this much, and not before EARLIEST.
MAX_AHEAD = timedelta(hours=1)
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
#: An integer this long may not fit into 64 bits, which is what the fast parser knows.
_LONG_NUMBER = re.compile(rb"\d{19}")


def decode(record: Record) -> Post:
    """Validates one record; raises `Poison`.

    Event time is `published_at` when it is plausible (after the year 2000 and at most an hour ahead of the
    record's timestamp), else the record's timestamp, with `time_suspect` set where the field was there.
    """
    if record.by_reference:
        raise Poison(STAGE, "too_large", f"{record.by_reference[0]} bytes, at most {MAX_BYTES}")
    raw = _object(record.value)
    version = raw.get("v", 1)
    if version != 1 or isinstance(version, bool):
        raise Poison(STAGE, "unknown_version", "field 'v' must be 1")
    source = _string(raw, "source")
    native = _string(raw, "id") or _string(raw, "url")
    title, text = clean(_string(raw, "title")), clean(_string(raw, "text"))
    if not source.strip():
        raise Poison(STAGE, "missing_field", "field 'source' is needed")
    if not native.strip():
        raise Poison(STAGE, "missing_field", "field 'id' or 'url' is needed")
    if not (title.strip() or text.strip()):
        raise Poison(STAGE, "missing_field", "field 'text' or 'title' is needed")
    if len(text) > MAX_TEXT or len(title) > MAX_TEXT:
        raise Poison(STAGE, "too_large", f"field 'text' or 'title' has over {MAX_TEXT} characters")
    event_time, suspect = _event_time(raw, record.timestamp_ms)
    kind = _string(raw, "kind")
    if kind and kind not in KINDS:
        raise Poison(STAGE, "wrong_value", f"field 'kind' must be one of {sorted(KINDS)}")
    return Post(
        id=document_id(source, native),
        source=source,
        native_id=_string(raw, "id"),
        kind=kind,
        url=_string(raw, "url"),
        title=title,
        text=text,
        author=clean(_string(raw, "author")),
        lang=_string(raw, "lang"),
        event_time=event_time,
        time_suspect=suspect,
        content_hash=content_hash(f"{title}\n{text}" if title and text else title or text),
        reposts=_count(raw, "reposts"),
        likes=_count(raw, "likes"),
        comments=_count(raw, "comments"),
        extra=_extra(raw),
        origin=record.origin,
    )


def _object(value: bytes) -> dict[str, Any]:
    if len(value) > MAX_BYTES:
        raise Poison(STAGE, "too_large", f"{len(value)} bytes, at most {MAX_BYTES}")
    raw = _plain(value)
    if raw is None:
        raw = _precise(value)
    if not isinstance(raw, dict):
        raise Poison(STAGE, "not_object", "a post is a JSON object")
    return raw


def _plain(value: bytes) -> Any | None:
    """What the fast parser reads of JSON that surely is not deep and has no long number; None for all else."""
    if value.count(b"{") + value.count(b"[") > MAX_DEPTH or _LONG_NUMBER.search(value):
        return None
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return None


def _precise(value: bytes) -> Any:
    """Reads any JSON, or says what is wrong with it; raises `Poison`."""
    try:
        source = value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Poison(STAGE, "not_utf8", f"byte {error.start}") from None
    if _depth(source) > MAX_DEPTH:
        raise Poison(STAGE, "too_deep", f"nested over {MAX_DEPTH} levels")
    try:
        return json.loads(source, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Poison(STAGE, "not_json") from None


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _depth(source: str) -> int:
    depth = deepest = 0
    in_string = escaped = False
    for character in source:
        if in_string:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                in_string = False
        elif character == '"':
            in_string = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _string(raw: Mapping[str, Any], name: str) -> str:
    value = raw.get(name)
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool) and name == "id":
        return str(value)
    if not isinstance(value, str):
        raise Poison(STAGE, "wrong_type", f"field '{name}' must be a string")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise Poison(STAGE, "lone_surrogate", f"field '{name}'") from None
    return value


def _count(raw: Mapping[str, Any], name: str) -> int:
    value = raw.get(name)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int):
        raise Poison(STAGE, "wrong_type", f"field '{name}' must be an integer")
    return max(0, min(value, 2**53))


def _event_time(raw: Mapping[str, Any], timestamp_ms: int) -> tuple[datetime, bool]:
    recorded = datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    value = _string(raw, "published_at")
    if not value:
        return recorded, False
    try:
        published = datetime.fromisoformat(value)
        if published.tzinfo is None:
            return recorded, True
        published = published.astimezone(UTC)
    except (ValueError, OverflowError):
        return recorded, True
    if EARLIEST <= published <= recorded + MAX_AHEAD:
        return published, False
    return recorded, True


def _extra(raw: Mapping[str, Any]) -> dict[str, str]:
    given = raw.get("extra")
    if given is not None and not isinstance(given, dict):
        raise Poison(STAGE, "wrong_type", "field 'extra' must be an object")
    flat: dict[str, str] = {}
    stack: list[tuple[str, Any]] = [(k, v) for k, v in raw.items() if k not in KNOWN]
    stack += list((given or {}).items())
    while stack and len(flat) < MAX_EXTRA:
        name, value = stack.pop(0)
        if isinstance(value, dict):
            stack += [(f"{name}.{k}", v) for k, v in value.items()]
        else:
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            flat[_utf8(name)[:200]] = _utf8(shown)[:MAX_EXTRA_VALUE]
    return flat


def _utf8(value: str) -> str:
    return clean(value.encode("utf-8", "replace").decode("utf-8"))
