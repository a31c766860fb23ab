"""When a key teaches nothing of what is usual: while an episode runs that it holds much of the posts of. Pure.

The crisis of a brand stands in the counts of its topic, of its sources and of the brand within each of them. None of
these gets an episode of its own (the brand explains them), and what they learned of the crisis would be shared with
every other key.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.alerting.counting.table import CountTable
from pipeline.alerting.evaluation.observations import beyond
from pipeline.domain.counting import Scope

#: A key is touched by an episode that this share of its negatives belongs to: below, the crisis drowns in the rest.
TOUCHED = 0.2


def touched(table: CountTable, scope: Scope, columns: slice) -> list[Scope]:
    """The other keys of which at least `TOUCHED` of the negatives in these columns are also those of key `scope`."""
    found = []
    for row in table.related(scope):
        other = table.scopes[row]
        own = int(table.negatives[row, columns].sum())
        left = beyond(table, other, scope, columns) if own else None
        if left is not None and own - left[1] >= TOUCHED * own:
            found.append(other)
    return found


class Exclusions:
    """Periods of event time, in seconds since the epoch, half open, in which a key is not learned from."""

    def __init__(self) -> None:
        self._periods: dict[Scope, list[tuple[int, int]]] = {}
        self._flat: tuple[list[Scope], NDArray[np.int64]] | None = None

    def add(self, scope: Scope, start: int, end: int) -> None:
        """Joins the period to the last one of the key where they meet."""
        periods = self._periods.setdefault(scope, [])
        if periods and start <= periods[-1][1]:
            last = periods.pop()
            start, end = min(start, last[0]), max(end, last[1])
        periods.append((start, end))
        self._flat = None

    def mask(self, table: CountTable, at: int) -> NDArray[np.bool_]:
        """bool[n_keys]: the keys of the table that do not learn from the bucket that begins at `at`."""
        if self._flat is None:
            flat = [(scope, *period) for scope, periods in self._periods.items() for period in periods]
            times = np.array([row[1:] for row in flat], np.int64).reshape(len(flat), 2)
            self._flat = [row[0] for row in flat], times
        scopes, times = self._flat
        excluded = np.zeros(len(table.scopes), np.bool_)
        for i in np.flatnonzero((times[:, 0] <= at) & (at < times[:, 1])).tolist():
            if (row := table.row(scopes[i])) is not None:
                excluded[row] = True
        return excluded

    def forget_before(self, oldest: int) -> None:
        """Drops the periods that ended by `oldest`."""
        kept = {s: [p for p in periods if p[1] > oldest] for s, periods in self._periods.items()}
        self._periods = {scope: periods for scope, periods in kept.items() if periods}
        self._flat = None

    def to_json(self) -> list[list[str]]:
        """Topic, subject, source, start and end (ISO 8601) of each; `from_json` reads it back."""
        return [
            [*astuple(scope), *(datetime.fromtimestamp(t, UTC).isoformat() for t in period)]
            for scope, periods in self._periods.items()
            for period in periods
        ]

    @classmethod
    def from_json(cls, rows: Iterable[list[Any]]) -> Exclusions:
        made = cls()
        for *names, start, end in rows:
            made.add(Scope(*names), *(int(datetime.fromisoformat(t).timestamp()) for t in (start, end)))
        return made
