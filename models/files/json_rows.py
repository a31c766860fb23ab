"""Parses JSONL, or consecutive JSON values, into rows. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Iterator
from itertools import chain, islice
from typing import Any

from models.files.encodings import MAX_WHOLE, FileError, broken
from models.files.rows import BadRow, Row

#: Fields in which an object may hold the list of rows.
CONTAINERS = (
    "data", "items", "posts", "results", "records", "rows", "statuses", "tweets", "documents", "articles", "list"
)  # fmt: skip
#: Most digits of an integer that is parsed as a number: parsing a longer one takes long.
_MOST_DIGITS = 400
_SPACE = re.compile(r"[\s\ufeff\x1e]*+")


def whole(digits: str) -> int | str:
    """The integer in a JSON text; as text where it is too large for any field."""
    return int(digits) if len(digits) <= _MOST_DIGITS else digits


#: The decoder accepts literal line breaks and tabs within a string.
DECODER = json.JSONDecoder(strict=False, parse_int=whole)


def json_rows(lines: Iterator[tuple[int, str]], name: str, *, whole: bool) -> Iterator[Row | BadRow]:
    """Parses one value per line, or consecutive values where the first line is not a complete value."""
    head = list(islice(lines, 2))
    opening = head[0][1].strip()
    unfinished = opening[-1:] in {"{", "[", ","} and not head[-1][1].lstrip().startswith("{")
    if whole or opening[:1] == "[" or (unfinished and len(head) > 1):
        yield from _values(chain(head, lines), name)
        return
    for number, line in chain(head, lines):
        if line.strip():
            yield from _of_line(number, line)


def _of_line(number: int, line: str) -> Iterator[Row | BadRow]:
    text = line.rstrip("\r\n")
    if broken(line):
        yield BadRow(number, "not JSON: contains bytes that are invalid in the file's encoding", text=text)
        return
    try:
        value = DECODER.decode(line)
    except (ValueError, RecursionError) as error:
        yield from _several(number, text, error)
        return
    yield from _objects(number, value, text)


def _several(number: int, text: str, error: Exception) -> Iterator[Row | BadRow]:
    """The consecutive objects in a line that is not a single value, up to the first error."""
    if _SPACE.sub("", text[:100]).startswith("{"):
        problem: Exception | None = None
        try:
            for _, value in _sequence(text):
                yield from _objects(number, value)
        except (ValueError, RecursionError) as later:
            problem = later
        if problem is None:
            return
        error = problem
    yield BadRow(number, f"not JSON: {_said(error)}", text=text)


def _objects(number: int, value: Any, text: str = "") -> Iterator[Row | BadRow]:
    listed = _listed(value)
    for item in [value] if listed is None else listed:
        if isinstance(item, dict):
            yield Row(number, item, text=text if listed is None else "")
        else:
            yield BadRow(number, "not an object", text=text if listed is None else json.dumps(item, ensure_ascii=False))


def _listed(value: Any) -> list[Any] | None:
    """The list that the value is or contains; None where the value is a row itself."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        for name in CONTAINERS:
            inner = value.get(name)
            if isinstance(inner, dict) and isinstance(inner.get(name), list):
                inner = inner[name]
            if isinstance(inner, list) and inner and all(isinstance(x, dict) for x in inner) and "text" not in value:
                return inner
    return None


def _values(lines: Iterator[tuple[int, str]], name: str) -> Iterator[Row | BadRow]:
    taken: list[str] = []
    size, first = 0, 1
    for number, line in lines:
        first = number if not taken else first
        taken.append(line)
        size += len(line)
        if size > MAX_WHOLE:
            raise FileError(
                f"{name}: a single JSON value of over {MAX_WHOLE >> 20} MiB", "write one object per line (JSONL)"
            )
    text = "".join(taken)
    lines_to = _line_counter(text, first)
    try:
        for at, value in _sequence(text):
            yield from _objects(lines_to(at), value)
    except (ValueError, RecursionError) as error:
        at = error.pos if isinstance(error, json.JSONDecodeError) else len(text)
        yield BadRow(lines_to(at), f"not JSON: {_said(error)}; the rest of the file is not read", structural=True)


def _sequence(text: str) -> Iterator[tuple[int, Any]]:
    """Yields position and value of consecutive values, or of the elements of an array, up to the first error."""
    at = _past_space(text, 0)
    while at < len(text):
        if text[at] == "[":
            at = yield from _array(text, at)
        else:
            start = at
            value, at = DECODER.raw_decode(text, at)
            yield start, value
        at = _past_space(text, at)
        if text[at : at + 1] == ",":
            at = _past_space(text, at + 1)


def _array(text: str, at: int) -> Generator[tuple[int, Any], None, int]:
    """Yields position and value of each element; returns the position after the array."""
    at = _past_space(text, at + 1)
    while text[at : at + 1] != "]":
        start = at
        value, at = DECODER.raw_decode(text, at)
        yield start, value
        at = _past_space(text, at)
        if text[at : at + 1] == ",":
            at = _past_space(text, at + 1)
        elif text[at : at + 1] != "]":
            raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
    return at + 1


def _past_space(text: str, at: int) -> int:
    return _SPACE.match(text, at).end()  # type: ignore[union-attr]


def _line_counter(text: str, first: int) -> Callable[[int], int]:
    """A function from a position to its line number; callers ask for ascending positions."""
    seen, line = 0, first

    def line_of(at: int) -> int:
        nonlocal seen, line
        line += text.count("\n", seen, max(seen, at))
        seen = max(seen, at)
        return line

    return line_of


def _said(error: Exception) -> str:
    return (
        error.msg
        if isinstance(error, json.JSONDecodeError)
        else "nested too deeply"
        if isinstance(error, RecursionError)
        else str(error)
    )
