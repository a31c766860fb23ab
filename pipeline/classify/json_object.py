"""Reads a JSON object from bytes, and shows JSON values as short text. Work and depth are bounded. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from models.files.json_rows import whole
from models.json_types import JsonObject
from pipeline.domain.errors import Poison

STAGE = "decode"
MAX_BYTES = 1_000_000
MAX_DEPTH = 32
#: The most objects and arrays in one value: creating more would stall the process in garbage collection.
MAX_CONTAINERS = 20_000

#: An integer this long may not fit into the 64 bits that the fast parser supports.
_LONG_NUMBER = re.compile(rb"\d{19}")
#: An unterminated string extends to the end of the value, so that the search reads every byte only once.
_JSON_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_ENCODER = json.JSONEncoder(ensure_ascii=False)


def json_object(value: bytes) -> JsonObject:
    """Raises `Poison` if `value` is not a JSON object, or exceeds `MAX_BYTES`, `MAX_CONTAINERS` or `MAX_DEPTH`."""
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
    """Returns the first `limit` characters of a value: a text as it is, anything else as JSON."""
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
    """Returns what the fast parser reads; None if it fails, or might round a number."""
    if _LONG_NUMBER.search(value):
        return None
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return None


def _precise(value: bytes) -> Any:
    """Reads any JSON; raises `Poison` with what is wrong."""
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
    """Whether containers are nested more than `levels` deep."""
    level = [value]
    for _ in range(levels + 1):
        level = [v for v in level if isinstance(v, (dict, list))]
        if not level:
            return False
        level = [inner for v in level for inner in (v.values() if isinstance(v, dict) else v)]
    return True
