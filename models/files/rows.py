"""What a reader of tables gives: rows, and what cannot be read as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: Characters of one line.
MAX_LINE = 16 << 20


@dataclass(frozen=True, slots=True)
class Row:
    """One row: the line that it begins in, its values by column, and those beyond the last column."""

    line: int
    values: dict[str, Any]
    surplus: tuple[str, ...] = ()
    #: The line as it was written; empty where the row is not a line of its own.
    text: str = ""
    #: All columns of a CSV, also those that a short row does not reach.
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BadRow:
    """What cannot be read, and the line where it begins; `structural` where the file's form is broken there."""

    line: int
    reason: str
    structural: bool = False
    text: str = ""
