"""Reads CSV, JSONL and JSON files row by row.

A row that cannot be read becomes a `BadRow` with its line and the reason; the other rows are still read.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import chain
from pathlib import Path

from models.files.csv_rows import DELIMITERS, csv_rows
from models.files.encodings import FileError, opened, text_of
from models.files.json_rows import json_rows
from models.files.rows import MAX_LINE, BadRow, Row


class Format(StrEnum):
    """The format of a file of rows; `jsonl` accepts any sequence of JSON values."""

    csv = "csv"
    tsv = "tsv"
    jsonl = "jsonl"
    json = "json"


def read_table(path: Path, encoding: str | None = None, format_: Format | None = None) -> Iterator[Row | BadRow]:
    """Yields the rows of a file or, for `-`, of standard input. Raises `FileError`."""
    with opened(path) as source, text_of(source, str(path), encoding) as text:
        yield from rows_of(text, str(path), format_)


def rows_of(text: io.TextIOBase, name: str, format_: Format | None = None) -> Iterator[Row | BadRow]:
    """Yields the rows of a text; without `format`, detects the format from the name and the first character."""
    return rows_of_lines(lines_of(text, name), name, format_)


def rows_of_lines(lines: Iterable[str], name: str, format_: Format | None = None) -> Iterator[Row | BadRow]:
    """As `rows_of`, from lines that the caller has read."""
    numbered = enumerate(lines, 1)
    first = next((x for x in numbered if x[1].strip()), None)
    if first is None:
        return
    start = chain([first], numbered)
    format_ = format_ or format_of(name, first[1])
    if format_ in {Format.csv, Format.tsv}:
        yield from csv_rows(start, name, "\t" if format_ is Format.tsv else None)
    else:
        yield from json_rows(start, name, whole=format_ is Format.json)


def format_of(name: str, first: str) -> Format:
    """The format of a file by its first non-blank line, or by its name where that line is ambiguous."""
    suffix = next((s for s in reversed([x.lower() for x in Path(name).suffixes]) if s != ".gz"), "")
    if suffix in {".csv", ".tsv", ".tab"}:
        return Format.csv if suffix == ".csv" else Format.tsv
    if first.lstrip()[:1] in {"{", "["} or suffix in {".jsonl", ".ndjson", ".json"}:
        return Format.jsonl
    return Format.csv if any(d in first for d in DELIMITERS) else Format.jsonl


def lines_of(text: io.TextIOBase, name: str) -> Iterator[str]:
    """Yields the lines of a text, each of bounded length. Raises `FileError`."""
    number = 0
    while line := _line(text, name, number + 1):
        number += 1
        yield line.lstrip("\ufeff") if number == 1 else line


def _line(text: io.TextIOBase, name: str, number: int) -> str:
    try:
        line = text.readline(MAX_LINE)
    except UnicodeError as error:
        raise FileError(f"{name}:{number}: {error}", "name the encoding with --encoding") from None
    except OSError as error:
        raise FileError(f"{name}:{number}: {error.strerror or error}", "give a readable file") from None
    if len(line) == MAX_LINE:
        raise FileError(f"{name}:{number}: the line is longer than {MAX_LINE} characters", "write one row per line")
    return line
