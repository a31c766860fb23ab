"""Watched subjects: which brands, people and products a text names. One pass (Aho-Corasick). Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import accumulate, islice

import ahocorasick

from models.search_text import keyword_text, searchable, spellings
from pipeline.settings import Settings, SubjectSettings

#: Occurrences that are looked at in one text: keywords that are parts of each other have many at every place.
MAX_HITS = 200_000
#: Scripts below U+2E80 that are written without spaces: Thai and Lao, Tibetan, Burmese, Khmer.
_UNSPACED = ((0x0E00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF))

#: Where a keyword stands: (first, last) character.
Span = tuple[int, int]


class SubjectMatcher:
    """`SubjectMatcher({"Nova": ["nova phone", "诺瓦"]}).find("新诺瓦手机")` -> ("Nova",).

    Keywords are compared without case and width. A keyword that begins or ends with a letter or digit of a script
    with spaces matches only at a word border there; Han needs none. URLs and @handles are not searched. An exception
    that covers a keyword ("nova scotia", of Nova) cancels it in that place, and only for its subject.
    With `fold_chinese`, traditional and simplified characters are the same.
    """

    def __init__(
        self,
        subjects: Mapping[str, Sequence[str]],
        exceptions: Mapping[str, Sequence[str]] | None = None,
        *,
        fold_chinese: bool = False,
    ) -> None:
        self._one_way = spellings(fold_chinese=fold_chinese and bool(subjects))
        owners: dict[str, set[tuple[str, bool]]] = defaultdict(set)
        for wanted, of in ((True, subjects), (False, exceptions or {})):
            for name, keywords in of.items():
                for keyword in keywords:
                    try:
                        owners[keyword_text(keyword, self._one_way)].add((name, wanted))
                    except ValueError as error:
                        raise ValueError(f"subject {name!r}: {error}") from None
        self._automaton = ahocorasick.Automaton()
        for key, names in owners.items():
            self._automaton.add_word(key, (len(key), tuple(names)))
        self._any = bool(owners)
        if self._any:
            self._automaton.make_automaton()

    def find(self, text: str) -> tuple[str, ...]:
        """Names of the subjects in a clean text, sorted, each once."""
        if not self._any:
            return ()
        haystack = searchable(text, self._one_way)
        found: dict[str, list[Span]] = defaultdict(list)
        exceptions: dict[str, list[Span]] = defaultdict(list)
        for end, (length, names) in islice(self._automaton.iter(haystack), MAX_HITS):
            start = end - length + 1
            if _joins(haystack, start - 1, start) or _joins(haystack, end, end + 1):
                continue
            for name, wanted in names:
                (found if wanted else exceptions)[name].append((start, end))
        return tuple(sorted(n for n, spans in found.items() if n not in exceptions or _any_left(spans, exceptions[n])))


def matcher(settings: Settings) -> SubjectMatcher:
    """The watched subjects of the settings; raises `ValueError`."""
    keywords: dict[str, list[str]] = {}
    exceptions: dict[str, list[str]] = {}
    for name, subject in settings.subjects.items():
        if isinstance(subject, SubjectSettings):
            keywords[name], exceptions[name] = subject.any, subject.not_
        else:
            keywords[name] = subject
    return SubjectMatcher(keywords, exceptions, fold_chinese=settings.matching.fold_chinese)


def _any_left(spans: Sequence[Span], exceptions: Sequence[Span]) -> bool:
    """Whether one of `spans` is covered by no exception."""
    ordered = sorted(exceptions)
    starts = [start for start, _ in ordered]
    reach = list(accumulate((end for _, end in ordered), max))
    return any(not (at := bisect_right(starts, start)) or reach[at - 1] < end for start, end in spans)


def _joins(text: str, left: int, right: int) -> bool:
    """Whether one word runs across the border between two positions."""
    if left < 0 or right >= len(text):
        return False
    return _spaced(text[left]) and _spaced(text[right])


def _spaced(character: str) -> bool:
    """Whether it is a letter or a digit of a script that puts spaces between words."""
    if not character.isalnum() or character >= "\u2e80":
        return False
    return not any(first <= ord(character) <= last for first, last in _UNSPACED)
