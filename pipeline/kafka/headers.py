"""Headers of Kafka records. Whoever may write a record controls them, so nothing of them is well-formed. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from models.text import clean_line

_MAX_TEXT = 500
_MAX_DIGITS = 12


def header_texts(headers: Iterable[tuple[object, object]] | None) -> dict[str, str]:
    """Each name with its value as one clean line, "" for none; of several under one name the last counts.

    >>> header_texts([("a", b"x\\x1b[2Jy"), ("b", None), ("c", b"\\xff"), ("a", b"z")])
    {'a': 'z', 'b': '', 'c': '\\ufffd'}
    """
    return {_text(name): _text(value) for name, value in headers or ()}


def header_number(text: str) -> int:
    """A count, 0 where the text is none.

    >>> header_number("3"), header_number("-1"), header_number("\\xb2"), header_number("9" * 5000)
    (3, 0, 0, 0)
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else 0


def _text(value: object) -> str:
    if isinstance(value, (bytes, bytearray, memoryview)):
        value = bytes(value[: 4 * _MAX_TEXT]).decode("utf-8", "replace")
    return clean_line(value, _MAX_TEXT) if isinstance(value, str) else ""
