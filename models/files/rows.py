"""The output of the table readers: rows, and rows that cannot be read."""

from __future__ import annotations

from dataclasses import dataclass

from models.json_types import JsonObject

#: Most characters of one line.
MAX_LINE = 16 << 20


@dataclass(frozen=True, slots=True)
class Row:
    """A row: the number of its first line, its values by column, and its values beyond the last column."""

    line: int
    values: JsonObject
    surplus: tuple[str, ...] = ()
    #: The line as written; "" where the row is not a line of its own.
    text: str = ""
    #: All columns of a CSV, including those that a short row lacks.
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read, and its first line; `structural` where the syntax of the file is broken."""

    line: int
    reason: str
    structural: bool = False
    text: str = ""
