"""Finds the watched subjects (brands, people, products) that a text names, in one pass (Aho-Corasick). Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import accumulate, islice

import ahocorasick

from models.aligned_text import Span
from models.search_text import SearchableText, keyword_text, searchable, spellings
from pipeline.settings import Settings, SubjectSettings

#: The most occurrences examined in one text: keywords that contain each other match often.
MAX_HITS = 200_000
#: Ranges below U+2E80 of scripts without spaces between words: Thai and Lao, Tibetan, Burmese, Khmer.
_UNSPACED = ((0x0E00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF))


class SubjectMatcher:
    """`SubjectMatcher({"Nova": ["nova phone", "诺瓦"]}).find("新诺瓦手机")` -> {"Nova": ((1, 3),)}.

    The comparison ignores case and width. If a keyword begins or ends with a letter or digit of a script with spaces,
    it matches only at a word boundary; Han needs none. URLs and @handles are not searched. An exception that covers a
    keyword ("nova scotia", for Nova) cancels that occurrence, and only for its subject.
    With `fold_chinese`, traditional and simplified characters are equal.
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
        for wanted, table in ((True, subjects), (False, exceptions or {})):
            for name, keywords in table.items():
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

    def find(self, text: str) -> dict[str, tuple[Span, ...]]:
        """Returns the mentions of each subject in a clean text: sorted ranges of the text, and the names sorted.

        A subject that only the words of a hashtag name is mentioned by the whole hashtag.
        """
        if not self._any or not (found := self._occurrences(searchable(text, self._one_way))):
            return {}
        original = SearchableText(text, self._one_way)
        return {name: original.mentions(found[name]) for name in sorted(found)}

    def _occurrences(self, haystack: str) -> dict[str, list[Span]]:
        """The ranges of a searchable text at which each subject occurs and no exception covers it."""
        found: dict[str, list[Span]] = {}
        exceptions: dict[str, list[Span]] = {}
        for last, (length, names) in islice(self._automaton.iter(haystack), MAX_HITS):
            start, end = last - length + 1, last + 1
            if _joins(haystack, start - 1, start) or _joins(haystack, last, end):
                continue
            for name, wanted in names:
                (found if wanted else exceptions).setdefault(name, []).append((start, end))
        for name in exceptions.keys() & found.keys():
            found[name] = _uncovered(found[name], exceptions[name])
        return {name: spans for name, spans in found.items() if spans}


def matcher(settings: Settings) -> SubjectMatcher:
    """Makes the matcher for the watched subjects of the settings; raises `ValueError`."""
    keywords: dict[str, list[str]] = {}
    exceptions: dict[str, list[str]] = {}
    for name, subject in settings.subjects.items():
        if isinstance(subject, SubjectSettings):
            keywords[name], exceptions[name] = subject.any, subject.not_
        else:
            keywords[name] = subject
    return SubjectMatcher(keywords, exceptions, fold_chinese=settings.matching.fold_chinese)


def _uncovered(spans: Sequence[Span], exceptions: Sequence[Span]) -> list[Span]:
    """The spans that no exception covers."""
    ordered = sorted(exceptions)
    starts = [start for start, _ in ordered]
    reach = list(accumulate((end for _, end in ordered), max))
    return [(start, end) for start, end in spans if not (at := bisect_right(starts, start)) or reach[at - 1] < end]


def _joins(text: str, left: int, right: int) -> bool:
    """Whether a word continues from one position to the next."""
    if left < 0 or right >= len(text):
        return False
    return _spaced(text[left]) and _spaced(text[right])


def _spaced(character: str) -> bool:
    """Whether the character is a letter or a digit of a script with spaces between words."""
    if not character.isalnum() or character >= "\u2e80":
        return False
    return not any(first <= ord(character) <= last for first, last in _UNSPACED)
