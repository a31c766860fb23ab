"""Rows of CSV, JSONL and JSON files, one at a time. Pure but for the reading of a text that is open.

What cannot be read becomes a `BadRow` that names its line and the reason; the rest of the file is still read.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, islice
from pathlib import Path
from typing import Any

from models.encodings import MAX_WHOLE, FileError, broken, opened, text_of

#: Characters of one line, and of one row of a CSV whose quoted fields hold line breaks.
MAX_LINE, MAX_ROW = 16 << 20, 2 << 20
#: Lines that one row may go over before its quote counts as never closed.
MAX_ROW_LINES = 5_000
#: Fields of an object that hold the list of what the file is about.
CONTAINERS = (
    "data",
    "items",
    "posts",
    "results",
    "records",
    "rows",
    "statuses",
    "tweets",
    "documents",
    "articles",
    "list",
)
_DELIMITERS = ("\t", ";", ",", "|")
_SPACE = re.compile(r"[\s\ufeff\x1e]*+")

# The limit of the csv module is of one field and of the whole process; `MAX_ROW` bounds what is handed to it.
csv.field_size_limit(MAX_LINE + 1)


class Format(StrEnum):
    """How the rows of a file are written; `jsonl` takes any sequence of JSON values."""

    csv = "csv"
    tsv = "tsv"
    jsonl = "jsonl"
    json = "json"


@dataclass(frozen=True, slots=True)
class Row:
    """One row: the line that it begins in, its values by column, and those beyond the last column."""

    line: int
    values: dict[str, Any]
    surplus: tuple[str, ...] = ()
    #: The line as it was written; empty where the row is not a line of its own.
    text: str = ""


@dataclass(frozen=True, slots=True)
class BadRow:
    """What cannot be read, and the line where it begins; `structural` where the file's form is broken there."""

    line: int
    reason: str
    structural: bool = False
    text: str = ""


def read_table(path: Path, encoding: str | None = None, format_: Format | None = None) -> Iterator[Row | BadRow]:
    """The rows of a file or, for `-`, of standard input. Raises `FileError`."""
    with opened(path) as source, text_of(source, str(path), encoding) as text:
        yield from rows_of(text, str(path), format_)


def rows_of(text: io.TextIOBase, name: str, format_: Format | None = None) -> Iterator[Row | BadRow]:
    """The rows of a text; its format is found out from its name and its first character where none is given."""
    lines = _lines(text, name)
    first = next((x for x in lines if x[1].strip()), None)
    if first is None:
        return
    start = chain([first], lines)
    format_ = format_ or format_of(name, first[1])
    if format_ in {Format.csv, Format.tsv}:
        yield from _csv(start, name, "\t" if format_ is Format.tsv else None)
    else:
        yield from _json(start, name, whole=format_ is Format.json)


def format_of(name: str, first: str) -> Format:
    """The format of a file by its first line that is not blank, and by its name where that says nothing."""
    suffix = next((s for s in reversed([x.lower() for x in Path(name).suffixes]) if s != ".gz"), "")
    if suffix in {".csv", ".tsv", ".tab"}:
        return Format.csv if suffix == ".csv" else Format.tsv
    if first.lstrip()[:1] in {"{", "["} or suffix in {".jsonl", ".ndjson", ".json"}:
        return Format.jsonl
    return Format.csv if any(d in first for d in _DELIMITERS) else Format.jsonl


def _lines(text: io.TextIOBase, name: str) -> Iterator[tuple[int, str]]:
    number = 0
    while line := _line(text, name, number + 1):
        number += 1
        yield number, line.lstrip("\ufeff") if number == 1 else line


def _line(text: io.TextIOBase, name: str, number: int) -> str:
    try:
        line = text.readline(MAX_LINE)
    except UnicodeError as error:
        raise FileError(f"{name}:{number}: {error}", "name the encoding with --encoding") from None
    except OSError as error:
        raise FileError(f"{name}:{number}: {error.strerror or error}", "give a file that can be read") from None
    if len(line) == MAX_LINE:
        raise FileError(f"{name}:{number}: the line is longer than {MAX_LINE} characters", "write one row a line")
    return line


# --- CSV ------------------------------------------------------------------------------------------------------------


def _csv(lines: Iterator[tuple[int, str]], name: str, delimiter: str | None) -> Iterator[Row | BadRow]:
    number, first = next(lines)
    if first.lower().startswith("sep=") and len(first.strip("\r\n")) == 5:
        delimiter = first[4]
        number, first = next(lines, (number + 1, ""))
    if delimiter is None:
        delimiter = _delimiter(first)
    columns: tuple[str, ...] = ()
    for row in _records(chain([(number, first)], lines), delimiter):
        if isinstance(row, BadRow):
            if not columns:
                raise FileError(f"{name}:{row.line}: {row.reason}", "correct the line of column names")
            yield row
            continue
        line, cells = row
        if not any(c.strip() for c in cells):
            continue
        if not columns:
            columns = _columns(cells)
        elif any(map(broken, cells)):
            yield BadRow(line, "holds bytes that the file's encoding does not have")
        else:
            surplus = cells[len(columns) :]
            yield Row(line, dict(zip(columns, cells, strict=False)), tuple(surplus) if any(surplus) else ())


def _delimiter(header: str) -> str:
    counts = {d: header.count(d) for d in _DELIMITERS}
    return max(_DELIMITERS, key=counts.__getitem__) if any(counts.values()) else ","


def _columns(cells: list[str]) -> tuple[str, ...]:
    """The names of the columns: each once, none empty."""
    names: dict[str, None] = {}
    for number, cell in enumerate(cells, 1):
        name = cell.strip() or f"column {number}"
        names[name if name not in names else f"{name} ({number})"] = None
    return tuple(names)


def _records(lines: Iterator[tuple[int, str]], delimiter: str) -> Iterator[tuple[int, list[str]] | BadRow]:
    """The cells of each row. A quote that never closes costs the line that it opens in."""
    waiting: deque[tuple[int, str]] = deque()
    while True:
        taken = [waiting.popleft()] if waiting else list(islice(lines, 1))
        if not taken:
            return
        line, text = taken[0]
        inside, clean = _quoted(text, delimiter, inside=False)
        size = len(text)
        while inside and size < MAX_ROW and len(taken) < MAX_ROW_LINES:
            following = waiting.popleft() if waiting else next(lines, None)
            if following is None:
                break
            taken.append(following)
            size += len(following[1])
            inside, clean = _quoted(following[1], delimiter, inside=True)
        if inside or (len(taken) > 1 and not clean):
            waiting.extendleft(reversed(taken[1:]))
            yield BadRow(line, "a quote opens in this line and is not closed", structural=True, text=text)
            continue
        try:
            yield line, next(csv.reader(["".join(t for _, t in taken)], delimiter=delimiter), [])
        except csv.Error as error:
            yield BadRow(line, f"is no CSV ({error})", structural=True, text=text)


def _quoted(line: str, delimiter: str, *, inside: bool) -> tuple[bool, bool]:
    """Whether a quoted field is open at the end of a line, and whether a delimiter follows each that closed."""
    if '"' not in line:
        return inside, True
    at, clean = 0, True
    while True:
        if not inside and line[at : at + 1] == '"':
            inside, at = True, at + 1
        if inside:
            at = _closing(line, at)
            if at < 0:
                return True, clean
            inside = False
            end = line.find(delimiter, at)
            clean = clean and not line[at : len(line) if end < 0 else end].strip()
        else:
            end = line.find(delimiter, at)
        if end < 0:
            return False, clean
        at = end + 1


def _closing(line: str, at: int) -> int:
    """The place after the quote that closes a field; -1 where there is none. Doubled quotes are text."""
    while (quote := line.find('"', at)) >= 0:
        if line[quote + 1 : quote + 2] != '"':
            return quote + 1
        at = quote + 2
    return -1


# --- JSON -----------------------------------------------------------------------------------------------------------


def _json(lines: Iterator[tuple[int, str]], name: str, *, whole: bool) -> Iterator[Row | BadRow]:
    """One value a line; where the first line is none by itself, values one after another."""
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
        yield BadRow(number, "not JSON: holds bytes that the file's encoding does not have", text=text)
        return
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        yield BadRow(number, f"not JSON: {_said(error)}", text=text)
        return
    yield from _objects(number, value, text)


def _objects(number: int, value: Any, text: str = "") -> Iterator[Row | BadRow]:
    listed = _listed(value)
    for item in [value] if listed is None else listed:
        if isinstance(item, dict):
            yield Row(number, item, text=text if listed is None else "")
        else:
            yield BadRow(number, "not an object", text=text if listed is None else json.dumps(item, ensure_ascii=False))


def _listed(value: Any) -> list[Any] | None:
    """The list that a value is or holds; None for a row."""
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
    taken, size, first = [], 0, 1
    for number, line in lines:
        first = number if not taken else first
        taken.append(line)
        size += len(line)
        if size > MAX_WHOLE:
            raise FileError(f"{name}: one JSON value of over {MAX_WHOLE >> 20} MiB", "write one object a line (JSONL)")
    text = "".join(taken)
    lines_to = _line_counter(text, first)
    try:
        for at, value in _sequence(text):
            yield from _objects(lines_to(at), value)
    except (ValueError, RecursionError) as error:
        at = error.pos if isinstance(error, json.JSONDecodeError) else len(text)
        yield BadRow(lines_to(at), f"not JSON: {_said(error)}; what follows is not read", structural=True)


def _sequence(text: str) -> Iterator[tuple[int, Any]]:
    """Place and value of all that follow each other; of an array, those in it: what is before an error counts."""
    decoder, at = json.JSONDecoder(), _past_space(text, 0)
    while at < len(text):
        if text[at] == "[":
            at = yield from _array(decoder, text, at)
        else:
            start = at
            value, at = decoder.raw_decode(text, at)
            yield start, value
        at = _past_space(text, at)


def _array(decoder: json.JSONDecoder, text: str, at: int) -> Iterator[tuple[int, Any]]:
    at = _past_space(text, at + 1)
    while text[at : at + 1] != "]":
        start = at
        value, at = decoder.raw_decode(text, at)
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
    """The line of a place; places are asked for in order."""
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
