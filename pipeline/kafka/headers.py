"""Reads the headers of Kafka records, which any producer controls and may malform. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from models.text import clean_line

_MAX_TEXT = 500
_MAX_DIGITS = 12


def header_texts(headers: Iterable[tuple[object, object]] | None) -> dict[str, str]:
    """Returns each name with its value as one clean line, "" for no value; the last of several values counts.

    >>> header_texts([("a", b"x\\x1b[2Jy"), ("b", None), ("c", b"\\xff"), ("a", b"z")])
    {'a': 'z', 'b': '', 'c': '\\ufffd'}
    """
    return {_text(name): _text(value) for name, value in headers or ()}


def header_number(text: str) -> int:
    """Returns a count; 0 if the text is not one.

    >>> header_number("3"), header_number("-1"), header_number("\\xb2"), header_number("9" * 5000)
    (3, 0, 0, 0)
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else 0


def _text(value: object) -> str:
    if isinstance(value, (bytes, bytearray, memoryview)):
        value = bytes(value[: 4 * _MAX_TEXT]).decode("utf-8", "replace")
    return clean_line(value, _MAX_TEXT) if isinstance(value, str) else ""
