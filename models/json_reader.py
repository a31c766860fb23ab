"""Takes the fields out of a JSON object that a person, another process or another release wrote. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

from models.json_types import Json, JsonObject

T = TypeVar("T")
_KINDS = {bool: "true or false", int: "an integer", str: "a text", list: "a list", dict: "an object"}


class JsonReader:
    """Each method takes one field; `rest` holds the fields that nobody has taken.

    A field that is missing or null has the default; without a default the methods raise `KeyError`. They raise
    `ValueError` for a value of another type.

    >>> fields = JsonReader({"posts": 3, "share": None, "newer": "x"})
    >>> fields.whole("posts"), fields.number_or_none("share"), fields.text("note", ""), fields.rest
    (3, None, '', {'newer': 'x'})
    """

    def __init__(self, value: Json) -> None:
        """Raises `ValueError` if `value` is not an object."""
        self._left: dict[str, Json] = dict(_checked("the value", value, dict))

    @property
    def rest(self) -> JsonObject:
        return dict(self._left)

    def text(self, name: str, default: str | None = None) -> str:
        return self._required(name, self.text_or_none(name), default)

    def text_or_none(self, name: str) -> str | None:
        return self._taken(name, str)

    def whole(self, name: str, default: int | None = None) -> int:
        return self._required(name, self.whole_or_none(name), default)

    def whole_or_none(self, name: str) -> int | None:
        return self._taken(name, int)

    def number(self, name: str, default: float | None = None) -> float:
        return self._required(name, self.number_or_none(name), default)

    def number_or_none(self, name: str) -> float | None:
        value = self._left.pop(name, None)
        return None if value is None else _number(name, value)

    def flag(self, name: str, *, default: bool | None = None) -> bool:
        return self._required(name, self._taken(name, bool), default)

    def time(self, name: str, default: datetime | None = None) -> datetime:
        return self._required(name, self.time_or_none(name), default)

    def time_or_none(self, name: str) -> datetime | None:
        """Returns an ISO 8601 time; None also for an empty text."""
        written = self.text_or_none(name)
        return datetime.fromisoformat(written) if written else None

    def texts(self, name: str) -> tuple[str, ...]:
        """Returns a list of texts; empty if the field is missing."""
        return tuple(_checked(name, value, str) for value in self.items(name))

    def wholes(self, name: str) -> tuple[int, ...]:
        """Returns a list of integers; empty if the field is missing."""
        return tuple(_checked(name, value, int) for value in self.items(name))

    def numbers(self, name: str) -> tuple[float, ...]:
        """Returns a list of numbers; empty if the field is missing."""
        return tuple(_number(name, value) for value in self.items(name))

    def number_rows(self, name: str) -> tuple[tuple[float, ...], ...]:
        """Returns a list of lists of numbers; empty if the field is missing."""
        rows = [_checked(name, row, list) for row in self.items(name)]
        return tuple(tuple(_number(name, value) for value in row) for row in rows)

    def text_rows(self, name: str) -> list[list[str]]:
        """Returns a list of lists of texts; empty if the field is missing."""
        rows = [_checked(name, row, list) for row in self.items(name)]
        return [[_checked(name, value, str) for value in row] for row in rows]

    def items(self, name: str) -> list[Json]:
        """Returns a list; empty if the field is missing."""
        return self._taken(name, list) or []

    def objects(self, name: str) -> list[JsonObject]:
        """Returns a list of objects; empty if the field is missing."""
        return [_checked(name, value, dict) for value in self.items(name)]

    def object(self, name: str) -> JsonObject:
        """Returns an object; an empty one if the field is missing."""
        return self._taken(name, dict) or {}

    def texts_by_name(self, name: str) -> dict[str, str]:
        """Returns an object whose values are texts; empty if the field is missing."""
        return {key: _checked(key, value, str) for key, value in self.object(name).items()}

    def numbers_by_name(self, name: str) -> dict[str, float]:
        """Returns an object whose values are numbers; empty if the field is missing."""
        return {key: _number(key, value) for key, value in self.object(name).items()}

    def objects_by_name(self, name: str) -> dict[str, JsonObject]:
        """Returns an object whose values are objects; empty if the field is missing."""
        return {key: _checked(key, value, dict) for key, value in self.object(name).items()}

    def has(self, name: str) -> bool:
        """Whether the field is there and not null, and nobody has taken it."""
        return self._left.get(name) is not None

    def _taken(self, name: str, kind: type[T]) -> T | None:
        value = self._left.pop(name, None)
        return None if value is None else _checked(name, value, kind)

    def _required(self, name: str, found: T | None, default: T | None) -> T:
        if found is not None:
            return found
        if default is None:
            raise KeyError(name)
        return default


def _checked(name: str, value: Json, kind: type[T]) -> T:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{name} is {type(value).__name__} but must be {_KINDS[kind]}")
    return value


def _number(name: str, value: Json) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name} is {type(value).__name__} but must be a number")
    return value
