"""A text that is being normalised, with the range of the original text that each of its characters comes from. Pure."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from operator import methodcaller
from typing import Literal

from models.text import NON_STARTERS, TOO_MANY_MARKS, Step, character_class, has_too_many_ligatures

#: A half-open range of characters.
Span = tuple[int, int]
#: Vowels and final consonants of Hangul, which compose with the syllable before them by arithmetic.
_JAMO = ((0x1161, 0x1176), (0x11A8, 0x11C3))


class AlignedText:
    """`text`, whose character i stands for the characters `starts[i]` to `ends[i]` (exclusive) of the original.

    Each method returns a changed text; the original stays the same.
    """

    __slots__ = ("ends", "starts", "text")

    def __init__(self, text: str, starts: list[int], ends: list[int]) -> None:
        self.text, self.starts, self.ends = text, starts, ends

    @classmethod
    def of(cls, original: str) -> AlignedText:
        return cls(original, list(range(len(original))), list(range(1, len(original) + 1)))

    def span(self, start: int, end: int) -> Span:
        """The range of the original that the characters from `start` to `end` > `start` (exclusive) come from."""
        return self.starts[start], self.ends[end - 1]

    def apply(self, steps: Iterable[Step]) -> AlignedText:
        """The text after each of the steps."""
        aligned = self
        for step in steps:
            if isinstance(step, str):
                aligned = aligned.normalised(step)
            else:
                aligned = aligned.replaced(step.pattern, methodcaller("expand", step.replacement))
        return aligned

    def replaced(self, pattern: re.Pattern[str], replacement: Callable[[re.Match[str]], str]) -> AlignedText:
        """`pattern.sub`; every character of a replacement stands for the whole match."""
        return self._rebuilt((m.start(), m.end(), replacement(m)) for m in pattern.finditer(self.text))

    def translated(self, table: Mapping[int, str]) -> AlignedText:
        """`str.translate` with a table of single characters."""
        return AlignedText(self.text.translate(table), self.starts, self.ends)

    def casefolded(self) -> AlignedText:
        folded = self.text.casefold()
        if len(folded) == len(self.text):
            return AlignedText(folded, self.starts, self.ends)
        return self._rebuilt(((i, i + 1, c.casefold()) for i, c in enumerate(self.text)))

    def compatible(self) -> AlignedText:
        """The text as `models.text.compatible` returns it."""
        if self.text.isascii():
            return self
        aligned = self.apply([TOO_MANY_MARKS])
        return aligned if has_too_many_ligatures(aligned.text) else aligned.normalised("NFKC")

    def normalised(self, form: Literal["NFC", "NFKC"]) -> AlignedText:
        """The text in the normal form; what composes or expands stands for all that it was made of."""
        if unicodedata.is_normalized(form, self.text):
            return self
        parts = ((m.start(), m.end(), unicodedata.normalize(form, m[0])) for m in _irregular().finditer(self.text))
        aligned = self._rebuilt(parts)
        # Outside the parts each character has a normal form of one character.
        return AlignedText(unicodedata.normalize(form, self.text), aligned.starts, aligned.ends)

    def _rebuilt(self, parts: Iterable[tuple[int, int, str]]) -> AlignedText:
        """The text with each of the parts (start, end, replacement), in order, replaced."""
        pieces: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        at = 0
        for start, end, new in parts:
            pieces += (self.text[at:start], new)
            starts += self.starts[at:start]
            ends += self.ends[at:start]
            if new:
                starts += [self.starts[start]] * len(new)
                ends += [self.ends[end - 1]] * len(new)
            at = end
        if not at:
            return self
        return AlignedText("".join(pieces) + self.text[at:], starts + self.starts[at:], ends + self.ends[at:])


@cache
def _irregular() -> re.Pattern[str]:
    """Finds the parts of a text that NFC or NFKC may change in any other way than character by character.

    These are characters that compose with what stands before them, or change places with it, together with the
    character before them, and characters with a normal form that is not one character.
    """
    seconds = {chr(code) for first, end in _JAMO for code in range(first, end)}
    starts: dict[str, str] = {}
    expanding: set[str] = set()
    for character in map(chr, range(0x80, sys.maxunicode + 1)):
        if not (parts := unicodedata.decomposition(character)):
            continue
        canonical = [chr(int(code, 16)) for code in parts.split() if code[0] != "<"]
        if len(canonical) == 2 and parts[0] != "<":
            seconds.add(canonical[1])
        starts[character] = unicodedata.normalize("NFKD", character)[0]
        if len(unicodedata.normalize("NFKC", character)) != 1:
            expanding.add(character)
    following = {c for c, first in starts.items() if first in seconds or unicodedata.combining(first)} | seconds
    joined = NON_STARTERS + character_class(following.__contains__, sys.maxunicode)
    return re.compile(f"(?s:.)?[{joined}]+|[{character_class(expanding.__contains__, sys.maxunicode)}]")
