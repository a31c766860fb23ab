"""The target of a row of a file: which characters of the text it stands at. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class TargetColumns(NamedTuple):
    """The names of the columns of the target's words and of its characters in the text, half open."""

    target: str = "target"
    start: str = "from"
    end: str = "to"


COLUMNS = TargetColumns()


class TargetError(ValueError):
    """A row's target is not where the row says; the message names the field."""


class TargetAbsentError(TargetError):
    """The text does not contain the target's words."""


def targeted(row: Mapping[str, object], columns: TargetColumns = COLUMNS) -> bool:
    """Whether the row is about a target: it says where it stands, or names it in words. A number names a class.

    >>> targeted({"target": "Nova"}), targeted({"target": "1"}), targeted({"target": "1", "from": 3, "to": 4})
    (True, False, True)
    """
    words = row.get(columns.target)
    return placed(row, columns) or (isinstance(words, str) and any(c.isalpha() for c in words))


def placed(row: Mapping[str, object], columns: TargetColumns = COLUMNS) -> bool:
    """Whether the row says at which characters its target stands."""
    return all(row.get(column) not in (None, "") for column in (columns.start, columns.end))


def span_of(row: Mapping[str, object], text: str, columns: TargetColumns = COLUMNS) -> tuple[int, int]:
    """The characters of `text` at which the row's target stands.

    Without positions, the words are searched for, ignoring case. Raises `TargetError`.

    >>> span_of({"target": "nova"}, "I like Nova"), span_of({"from": 2, "to": "6"}, "I like Nova")
    ((7, 11), (2, 6))
    """
    words = row.get(columns.target)
    if words is not None and (not isinstance(words, str) or not words.strip()):
        raise TargetError(f"field {columns.target!r} is not a text")
    start, end = (_position(row, column) for column in (columns.start, columns.end))
    if start is None or end is None:
        if start is not None or end is not None:
            lacking = columns.start if start is None else columns.end
            raise TargetError(f"field {lacking!r} is missing: give both {columns.start!r} and {columns.end!r}")
        if words is None:
            raise TargetError(f"field {columns.target!r} is missing: the head toward needs the words it is about")
        return _found(words.strip(), text, columns)
    if start >= end:
        raise TargetError(
            f"fields {columns.start!r} and {columns.end!r}: {start} to {end} holds no character; {columns.end!r} is "
            "the character after the target's last one"
        )
    if not 0 <= start < end <= len(text):
        raise TargetError(
            f"fields {columns.start!r} and {columns.end!r}: characters {start} to {end} are not inside the text, which "
            f"has {len(text)} characters"
        )
    if isinstance(words, str) and text[start:end] != words:
        raise TargetError(
            f"field {columns.target!r}: characters {start} to {end} of the text are {text[start:end][:40]!r}, not "
            f"{words[:40]!r}; leave out {columns.start!r} and {columns.end!r} to have it searched for"
        )
    return start, end


def _position(row: Mapping[str, object], column: str) -> int | None:
    value = row.get(column)
    if value is None or value == "":
        return None
    try:
        if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()) or "_" in str(value):
            raise ValueError
        return int(str(value).removesuffix(".0"))
    except ValueError:
        raise TargetError(f"field {column!r} is not the number of a character: {str(value)[:40]!r}") from None


def _found(words: str, text: str, columns: TargetColumns) -> tuple[int, int]:
    at = text.find(words)
    if at < 0:
        folded = text.lower()
        # Lower case changes the length of a few letters; the positions would then be wrong.
        at = folded.find(words.lower()) if len(folded) == len(text) else -1
    if at < 0:
        raise TargetAbsentError(f"field {columns.target!r}: the text does not contain {words[:40]!r}")
    return at, at + len(words)
