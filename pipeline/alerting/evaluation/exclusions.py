"""When a key does not learn: while an episode runs to which a large part of its negatives belongs. Pure.

The counts of a brand in crisis are also part of the counts of its topic, of its sources and of the brand within each
of them. None of these keys opens an episode of its own, because the episode of the brand inhibits it. Without the
exclusions each would learn the crisis as normal, and the shared priors would pass that on to every other key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.alerting.counting.overlap import counts_outside
from pipeline.alerting.counting.table import CountTable
from pipeline.domain.counting import Scope

#: An episode touches a key when at least this share of the key's negatives belongs to it.
TOUCHED = 0.2
#: Where no episodes are known yet, a score as high as this may belong to one: the bucket is excluded.
LEARN_BELOW = 3.5


def touched(table: CountTable, scope: Scope, columns: slice) -> list[Scope]:
    """The other keys that share at least `TOUCHED` of their negatives in these columns with key `scope`."""
    found = []
    for row in table.related(scope):
        other = table.scopes[row]
        own = int(table.negatives[row, columns].sum())
        left = counts_outside(table, other, scope, columns) if own else None
        if left is not None and own - left.negatives >= TOUCHED * own:
            found.append(other)
    return found


class Period(NamedTuple):
    """A half-open period of event time, in seconds since the epoch, in which a key does not learn."""

    scope: Scope
    start: int
    end: int

    def to_json(self) -> list[str]:
        """Topic, subject, source, start and end (ISO 8601)."""
        return [*astuple(self.scope), *(datetime.fromtimestamp(t, UTC).isoformat() for t in (self.start, self.end))]

    @classmethod
    def from_json(cls, row: Sequence[str]) -> Period:
        """Also reads rows of releases that did not know sources."""
        *names, start, end = row
        return cls(Scope(*names), *(int(datetime.fromisoformat(t).timestamp()) for t in (start, end)))


class Exclusions:
    """The periods of all keys."""

    def __init__(self, periods: Iterable[Period] = ()) -> None:
        self._periods: dict[Scope, list[Period]] = {}
        self._flat: tuple[list[Scope], NDArray[np.int64]] | None = None
        for period in periods:
            self.add(*period)

    def add(self, scope: Scope, start: int, end: int) -> None:
        """Adds a period, and joins it to the last one of the key where the two meet."""
        periods = self._periods.setdefault(scope, [])
        if periods and start <= periods[-1].end:
            last = periods.pop()
            start, end = min(start, last.start), max(end, last.end)
        periods.append(Period(scope, start, end))
        self._flat = None

    def mask(self, table: CountTable, at: int) -> NDArray[np.bool_]:
        """bool[n_keys]: the keys of the table that do not learn from the bucket that begins at `at`."""
        if self._flat is None:
            flat = self.periods()
            times = np.array([(period.start, period.end) for period in flat], np.int64).reshape(len(flat), 2)
            self._flat = [period.scope for period in flat], times
        scopes, times = self._flat
        excluded = np.zeros(len(table.scopes), np.bool_)
        for i in np.flatnonzero((times[:, 0] <= at) & (at < times[:, 1])).tolist():
            if (row := table.row(scopes[i])) is not None:
                excluded[row] = True
        return excluded

    def forget_before(self, oldest: int) -> None:
        """Drops the periods that ended by `oldest`."""
        kept = {scope: [p for p in periods if p.end > oldest] for scope, periods in self._periods.items()}
        self._periods = {scope: periods for scope, periods in kept.items() if periods}
        self._flat = None

    def periods(self) -> tuple[Period, ...]:
        """Every period, key by key."""
        return tuple(period for periods in self._periods.values() for period in periods)
