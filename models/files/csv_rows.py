"""Parses the lines of a CSV. An unclosed quote loses only the line in which it opens. Pure."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from itertools import chain, islice

from models.files.encodings import FileError, broken
from models.files.rows import MAX_LINE, BadRow, Row

#: Most characters of one row, including the line breaks in its quoted fields.
MAX_ROW = 2 << 20
#: Most characters of a column name.
MAX_NAME = 200
#: Most lines of one row; beyond them its quote counts as unclosed.
MAX_ROW_LINES = 5_000
DELIMITERS = ("\t", ";", ",", "|")

# The csv module's own limit applies to single fields and to the whole process; `MAX_ROW` bounds its input instead.
csv.field_size_limit(MAX_LINE + 1)


def csv_rows(lines: Iterator[tuple[int, str]], name: str, delimiter: str | None) -> Iterator[Row | BadRow]:
    number, first = next(lines)
    said = first.strip("\r\n").strip('"')
    if said.lower().startswith("sep=") and len(said) == 5:
        delimiter = said[4]
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
            yield BadRow(line, "contains bytes that are invalid in the file's encoding")
        else:
            surplus = cells[len(columns) :]
            values = dict(zip(columns, cells, strict=False))
            yield Row(line, values, tuple(surplus) if any(surplus) else (), columns=columns)


def _delimiter(header: str) -> str:
    counts = {d: header.count(d) for d in DELIMITERS}
    return max(DELIMITERS, key=counts.__getitem__) if any(counts.values()) else ","


def _columns(cells: list[str]) -> tuple[str, ...]:
    """The column names made unique, non-empty and short, since every row repeats them."""
    names: dict[str, None] = {}
    for number, cell in enumerate(cells, 1):
        name = cell.strip()[:MAX_NAME] or f"column {number}"
        names[name if name not in names else f"{name} ({number})"] = None
    return tuple(names)


def _records(lines: Iterator[tuple[int, str]], delimiter: str) -> Iterator[tuple[int, list[str]] | BadRow]:
    """Yields the cells of each row, or a `BadRow` for the line in which an unclosed quote opens."""
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
            yield BadRow(line, "this line opens a quote that is never closed", structural=True, text=text)
            continue
        try:
            yield line, next(csv.reader(["".join(t for _, t in taken)], delimiter=delimiter), [])
        except csv.Error as error:
            yield BadRow(line, f"is not CSV ({error})", structural=True, text=text)


def _quoted(line: str, delimiter: str, *, inside: bool) -> tuple[bool, bool]:
    """Whether a quoted field is open at the end of the line, and whether a delimiter follows every closed one."""
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
    """The position after the closing quote of a field, or -1 without one; doubled quotes are text."""
    while (quote := line.find('"', at)) >= 0:
        if line[quote + 1 : quote + 2] != '"':
            return quote + 1
        at = quote + 2
    return -1
