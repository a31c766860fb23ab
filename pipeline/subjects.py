"""Watched subjects: which brands, people and products a text names. One pass (Aho-Corasick). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ahocorasick

from models.text import normalise


class SubjectMatcher:
    """`SubjectMatcher({"Nova": ["nova phone", "诺瓦"]}).find("新诺瓦手机")` -> ("Nova",).

    Keywords are compared without case and width. A keyword that begins or ends with a Latin letter or digit
    matches only at a word border there; Han needs none.
    """

    def __init__(self, subjects: Mapping[str, Sequence[str]]) -> None:
        owners: dict[str, set[str]] = {}
        for name, keywords in subjects.items():
            for keyword in keywords:
                key = normalise(keyword)
                if not key:
                    raise ValueError(f"subject {name!r}: keyword {keyword!r} is empty after normalisation")
                owners.setdefault(key, set()).add(name)
        self._automaton = ahocorasick.Automaton()
        for key, names in owners.items():
            self._automaton.add_word(key, (key, frozenset(names)))
        self._any = bool(owners)
        if self._any:
            self._automaton.make_automaton()

    def find(self, text: str) -> tuple[str, ...]:
        """Names of the subjects in `text`, sorted, each once."""
        if not self._any:
            return ()
        haystack = normalise(text)
        found: set[str] = set()
        for end, (key, names) in self._automaton.iter(haystack):
            start = end - len(key) + 1
            if not (_joins(haystack, start - 1, start) or _joins(haystack, end, end + 1)):
                found |= names
        return tuple(sorted(found))


def _joins(text: str, left: int, right: int) -> bool:
    """Whether one Latin word runs across the border between two positions."""
    if left < 0 or right >= len(text):
        return False
    return _latin(text[left]) and _latin(text[right])


def _latin(character: str) -> bool:
    return character.isalnum() and character < "\u2e80"
