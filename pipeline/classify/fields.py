"""Reads the optional fields of a post: an invalid field is left out, and the post stays. Pure."""

from __future__ import annotations

import math
import re
from datetime import datetime
from itertools import islice

from models.json_types import JsonObject
from models.text import clean, clean_line, clean_url, is_text
from pipeline.classify.json_object import shown
from pipeline.classify.language import tag
from pipeline.domain.times import read_time

MAX_COUNT = 2**53
MAX_EXTRA = 32
MAX_EXTRA_NAME = 200
MAX_EXTRA_VALUE = 1_000
#: The most values that are examined for `extra`, including those inside objects.
MAX_EXTRA_NODES = 1_000

_NUMBER = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3}){1,5}|\d{1,20})(?:\.\d{0,20})?(?:[eE][+-]?\d{1,2})?", re.ASCII)


class Fields:
    """Reads the fields of one object; `ignored` names the fields with an invalid value."""

    def __init__(self, raw: JsonObject) -> None:
        self._raw = raw
        self.ignored: list[str] = []

    def line(self, name: str, limit: int) -> str:
        """Returns a text or a number as one clean line, truncated to `limit` characters; "" if it is missing."""
        value = as_text(self._raw.get(name))
        if value is None:
            return self._ignore(name)
        return clean_line(value, limit)

    def word(self, name: str, limit: int) -> str:
        """Returns a text as one clean line; "" if it is missing or longer than `limit`; it is never truncated."""
        value = self._raw.get(name)
        if value is not None and not (isinstance(value, str) and len(value) <= limit and is_text(value)):
            return self._ignore(name)
        return clean_line(value or "", limit)

    def language(self, name: str, limit: int) -> str:
        """Returns the language that the field names, as `language.tag` does; "" if it is missing."""
        said = self.word(name, limit)
        return said and (tag(said) or self._ignore(name))

    def url(self, name: str, limit: int) -> str:
        """Returns a URL, cleaned and with white space escaped; "" if it is missing or longer than `limit`."""
        value = self._raw.get(name)
        if value is not None and not (isinstance(value, str) and len(value) <= limit and is_text(value)):
            return self._ignore(name)
        return clean_url(value or "")

    def choice(self, name: str, allowed: frozenset[str]) -> str:
        """Returns one of the `allowed` words, in any case; "" if the field is missing or another word."""
        value = self._raw.get(name)
        if value is None or value == "":
            return ""
        word = value.strip().lower() if isinstance(value, str) and len(value) < 100 else ""
        return word if word in allowed else self._ignore(name)

    def count(self, name: str) -> int:
        """Returns a number from 0 to `MAX_COUNT`, also from a text ("1,234", "1.2e3"); 0 if it is missing."""
        value = self._raw.get(name)
        if value is None or value == "":
            return 0
        if isinstance(value, str) and len(value) < 100 and _NUMBER.fullmatch(value.strip()):
            value = float(value.replace(",", ""))
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or (type(value) is float and math.isnan(value))
        ):
            self.ignored.append(name)
            return 0
        return int(max(0, min(value, MAX_COUNT)))

    def time(self, *names: str) -> tuple[datetime | None, str]:
        """Returns the time in the first field that is present, None if it is invalid, and the field's name or ""."""
        for name in names:
            if (value := self._raw.get(name)) not in (None, ""):
                return read_time(value), name
        return None, ""

    def others(self, known: frozenset[str]) -> dict[str, str]:
        """Returns unknown fields and the object `extra`, flattened: at most `MAX_EXTRA`, the shallowest first."""
        given = self._raw.get("extra")
        if given is not None and not isinstance(given, dict):
            self.ignored.append("extra")
            given = None
        found: dict[str, str] = {}
        unknown = ((name, value) for name, value in self._raw.items() if name not in known)
        nodes = [*islice(unknown, MAX_EXTRA_NODES), *islice((given or {}).items(), MAX_EXTRA_NODES)]
        for name, value in nodes:
            if len(found) == MAX_EXTRA:
                break
            if isinstance(value, dict):
                inner = islice(value.items(), max(0, MAX_EXTRA_NODES - len(nodes)))
                nodes += [(f"{name[:MAX_EXTRA_NAME]}.{k[:MAX_EXTRA_NAME]}", v) for k, v in inner]
            else:
                text = _utf8(shown(value, 2 * MAX_EXTRA_VALUE))
                found[clean_line(_utf8(name[:MAX_EXTRA_NAME]), MAX_EXTRA_NAME)] = clean(text)[:MAX_EXTRA_VALUE]
        return found

    def _ignore(self, name: str) -> str:
        if self._raw.get(name) is not None:
            self.ignored.append(name)
        return ""


def as_text(value: object) -> str | None:
    """Returns a text, or a number as a text; None for anything else."""
    if isinstance(value, float) and value.is_integer() and abs(value) < MAX_COUNT:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and is_text(value) else None


def _utf8(value: str) -> str:
    return value.encode("utf-8", "replace").decode("utf-8")
