"""Counts per key and bucket as arrays, which the caller refills from the store. Pure.

A key is a topic, a subject, a watched source, or a subject within a topic or a source.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.counting import BUCKET_S, Cell, Scope

Counts = NDArray[np.int64]
Sums = NDArray[np.float64]


def key_name(scope: Scope) -> str:
    """The name of a key that people see.

    >>> key_name(Scope("autos")), key_name(Scope("", "Nova")), key_name(Scope("autos", "Nova"))
    ('topic:autos', 'subject:Nova', 'subject:Nova|topic:autos')
    """
    parts = (("subject", scope.subject), ("topic", scope.topic), ("source", scope.source))
    return "|".join(f"{name}:{value}" for name, value in parts if value)


def scope_of(key: str) -> Scope | None:
    """The key with this name; None where the name does not have that form.

    >>> scope_of("subject:Nova|topic:autos"), scope_of("Nova")
    (Scope(topic='autos', subject='Nova', source=''), None)
    """
    parts = dict(part.partition(":")[::2] for part in key.split("|"))
    scope = Scope(parts.get("topic", ""), parts.get("subject", ""), parts.get("source", ""))
    return scope if key and key_name(scope) == key else None


class CountTable:
    """Posts, negatives and sums of negative scores over the last `width` buckets; new keys are added at the end.

    `posts` and `negatives` are int64[n_keys, width], `score_sums` is float64[n_keys, width].
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.scopes: list[Scope] = []
        self._rows: dict[Scope, int] = {}
        self._named: defaultdict[tuple[int, str], list[int]] = defaultdict(list)
        self.end = 0  # the end of the last column's bucket, in seconds since the epoch
        self.posts: Counts = np.zeros((0, width), np.int64)
        self.negatives: Counts = np.zeros((0, width), np.int64)
        self.score_sums: Sums = np.zeros((0, width), np.float64)

    def advance(self, end: int) -> None:
        """Shifts the columns so that the last one is the bucket before `end`."""
        steps = (end - self.end) // BUCKET_S
        if steps <= 0:
            return
        for table in self._tables():
            if steps < self.width:
                table[:, :-steps] = table[:, steps:]
            table[:, -min(steps, self.width) :] = 0
        self.end = end

    def refill(self, cells: Iterable[Cell], start: int) -> None:
        """Replaces all columns from bucket `start` on by `cells`, without the cells outside the table."""
        column = max(0, self.width - (self.end - start) // BUCKET_S)
        for table in self._tables():
            table[:, column:] = 0
        for cell in cells:
            at = self.width - (self.end - cell.bucket) // BUCKET_S
            if not column <= at < self.width:
                continue
            for scope in scopes_of(cell):
                row = self._row(scope)
                self.posts[row, at] += cell.posts
                self.negatives[row, at] += cell.negatives
                self.score_sums[row, at] += cell.score_sum

    def time_of(self, column: int) -> datetime:
        """When the bucket before `column` ends."""
        return datetime.fromtimestamp(self.end - (self.width - column) * BUCKET_S, UTC)

    @classmethod
    def holding(
        cls, scopes: Sequence[Scope], posts: Counts, negatives: Counts, *, score_sums: Sums | None = None
    ) -> CountTable:
        """A table of existing counts, each [n_keys, width]; it has no times, and without sums each post scores 0."""
        made = cls(posts.shape[1])
        for scope in scopes:
            made._add(scope)
        made.posts, made.negatives = posts, negatives
        made.score_sums = np.zeros(posts.shape) if score_sums is None else score_sums
        return made

    def row(self, scope: Scope) -> int | None:
        """The row of a key; None for a key that has had no post."""
        return self._rows.get(scope)

    def related(self, scope: Scope) -> list[int]:
        """Rows of the other keys that may share posts with this one: keys within it, and keys that overlap with it."""
        within = {row for name in _names(scope) for row in self._named[name]}
        across = {name for row in within for name in _names(self.scopes[row])}
        singles = {row for at, value in across if (row := self.row(_single(at, value))) is not None}
        return sorted((within | singles) - {self.row(scope)})

    def _row(self, scope: Scope) -> int:
        row = self._rows.get(scope)
        if row is None:
            row = self._add(scope)
            empty = np.zeros((1, self.width), np.int64)
            self.posts = np.vstack([self.posts, empty])
            self.negatives = np.vstack([self.negatives, empty])
            self.score_sums = np.vstack([self.score_sums, np.zeros((1, self.width))])
        return row

    def _tables(self) -> tuple[Counts | Sums, ...]:
        return self.posts, self.negatives, self.score_sums

    def _add(self, scope: Scope) -> int:
        row = self._rows[scope] = len(self.scopes)
        self.scopes.append(scope)
        for name in _names(scope):
            self._named[name].append(row)
        return row


def _names(scope: Scope) -> list[tuple[int, str]]:
    """The position and the value of each part of a key that is not empty."""
    return [(at, value) for at, value in enumerate(astuple(scope)) if value]


def _single(at: int, value: str) -> Scope:
    return Scope(*(value if i == at else "" for i in range(3)))


def scopes_of(cell: Cell) -> tuple[Scope, ...]:
    """The keys that count the posts of a cell."""
    if cell.source and cell.subject:
        return (Scope("", cell.subject, cell.source),)
    if cell.source:
        return (Scope("", "", cell.source), Scope(cell.topic, "", cell.source))
    if cell.subject:
        return (Scope("", cell.subject), Scope(cell.topic, cell.subject))
    return (Scope(cell.topic),)


def is_watched(scope: Scope) -> bool:
    """Whether a key may alert; a topic within a source only decides which of the two inhibits the other."""
    return not (scope.topic and scope.source)


def rank(scope: Scope) -> int:
    """The order in which keys open episodes, so that the most specific cause inhibits the others.

    Subjects come first, then topics, sources, and last the keys within two of them.
    """
    return (0 if scope.subject else 1 if scope.topic else 2) if scope.is_single else 3
