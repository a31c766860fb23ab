"""Bytes -> a JSON object, and JSON values as short text. Work is bounded by the bytes, and depth by a limit. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from models.files.json_rows import whole
from pipeline.domain.errors import Poison

STAGE = "decode"
MAX_BYTES = 1_000_000
MAX_DEPTH = 32
#: Objects and arrays of one value: making many holds up the whole process, which collects its garbage meanwhile.
MAX_CONTAINERS = 20_000

#: An integer this long may not fit into 64 bits, which is what the fast parser knows.
_LONG_NUMBER = re.compile(rb"\d{19}")
#: A string that does not end reaches to the end of the value: so the search never looks at a byte twice.
_JSON_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_ENCODER = json.JSONEncoder(ensure_ascii=False)


def json_object(value: bytes) -> dict[str, Any]:
    """Raises `Poison` where `value` is no JSON object, or exceeds `MAX_BYTES`, `MAX_CONTAINERS` or `MAX_DEPTH`."""
    if len(value) > MAX_BYTES:
        raise Poison(STAGE, "too_large", f"{len(value)} bytes, at most {MAX_BYTES}")
    brackets = _brackets(value)
    if brackets > MAX_CONTAINERS and _brackets(_JSON_STRING.sub(b"", value)) > MAX_CONTAINERS:
        raise Poison(STAGE, "too_many_values", f"more than {MAX_CONTAINERS} objects and arrays")
    raw = _fast(value)
    if raw is None:
        raw = _precise(value)
    if brackets > MAX_DEPTH and _deeper(raw, MAX_DEPTH):
        raise Poison(STAGE, "too_deep", f"nested over {MAX_DEPTH} levels")
    if not isinstance(raw, dict):
        raise Poison(STAGE, "not_object", "a post is a JSON object")
    return raw


def shown(value: Any, limit: int) -> str:
    """The first `limit` characters of a value: a text as it is, anything else as JSON."""
    if isinstance(value, str):
        return value[:limit]
    found = ""
    for part in _ENCODER.iterencode(value):
        found += part[:limit]
        if len(found) >= limit:
            break
    return found[:limit]


def _brackets(value: bytes) -> int:
    return value.count(b"{") + value.count(b"[")


def _fast(value: bytes) -> Any | None:
    """What the fast parser reads; None where it cannot, or where it would round a number."""
    if _LONG_NUMBER.search(value):
        return None
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return None


def _precise(value: bytes) -> Any:
    """Reads any JSON, or says what is wrong with it; raises `Poison`."""
    try:
        return json.loads(value.decode("utf-8"), parse_constant=_no_constant, parse_int=whole)
    except UnicodeDecodeError as error:
        raise Poison(STAGE, "not_utf8", f"byte {error.start}") from None
    except RecursionError:
        raise Poison(STAGE, "too_deep", f"nested over {MAX_DEPTH} levels") from None
    except ValueError:
        raise Poison(STAGE, "not_json") from None


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _deeper(value: Any, levels: int) -> bool:
    """Whether containers lie in each other over more than so many levels."""
    level = [value]
    for _ in range(levels + 1):
        level = [v for v in level if isinstance(v, (dict, list))]
        if not level:
            return False
        level = [inner for v in level for inner in (v.values() if isinstance(v, dict) else v)]
    return True
