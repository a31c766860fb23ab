"""The counts of the last buckets, in which no voice is loud, read from the store bucket by bucket. Blocking."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from pipeline.alerting.counting.capped_counts import capped_counts
from pipeline.alerting.counting.count_cache import CountCache
from pipeline.alerting.counting.table import CountTable
from pipeline.domain.counting import BUCKET_S, Cell, NegativeDefinition, bucket_start
from pipeline.domain.states import RELABELLED, Relabelled
from pipeline.store.protocol import CountingStore

#: How far back the lanes learn.
HISTORY = timedelta(days=28)
_CHUNK = 288
#: The evaluator reads the counts of this many buckets before its cursor again, so that it sees late posts.
_LATE = 24


class RecentCounts:
    """Fills `table` and yields its columns in order; every method raises what the store raises.

    A yielded column is the one after the bucket that is complete: the bucket ends at `table.time_of(column)`.
    """

    def __init__(self, store: CountingStore, definition: NegativeDefinition, span: int, *, keep: bool) -> None:
        """The table keeps `span` buckets before each column. With `keep`, counts of closed days are saved."""
        self._store, self._definition, self._span = store, definition, span
        self.cache = CountCache(store, definition, keep=keep)
        self._relabelled: Relabelled | None = None
        self.clear()

    def clear(self) -> None:
        """Starts with an empty table."""
        self.table = CountTable(self._span + _CHUNK)

    def relabelled(self) -> bool:
        """Whether a model has classified indexed posts again since the last call, so that old baselines are wrong."""
        before, self._relabelled = self._relabelled, self._store.state(RELABELLED)
        return self._relabelled != before

    def first_bucket(self, end: int) -> int | None:
        """The bucket with which the history before `end` begins; None while nothing is indexed."""
        self._store.refresh()
        bounds = self._store.bounds()
        return None if bounds is None else bucket_start(max(bounds[0], time_of(end) - HISTORY).timestamp())

    def history(self, start: int, end: int) -> Iterator[int]:
        """Reads whole days, from the cache where it has them."""
        for since, until, cells in self.cache.days(time_of(start), time_of(end)):
            first, last = int(since.timestamp()), int(until.timestamp())
            self._fill(cells, first, last)
            yield from self._columns(first, last)

    def chunks(self, cursor: int, end: int) -> Iterator[tuple[int, list[int]]]:
        """Reads the buckets after `cursor` in chunks, each with its end, and those just before again for late posts."""
        while cursor < end:
            until, reread = min(end, cursor + _CHUNK * BUCKET_S), cursor - _LATE * BUCKET_S
            self._store.refresh()
            self._fill(capped_counts(self._store, time_of(reread), time_of(until), self._definition), reread, until)
            yield until, self._columns(cursor, until)
            cursor = until

    def last_bucket(self, end: int) -> int:
        """Reads only the bucket before `end`, and returns the column after it."""
        start = end - BUCKET_S
        self._fill(capped_counts(self._store, time_of(start), time_of(end), self._definition), start, end)
        return self.table.width

    def _fill(self, cells: list[Cell], start: int, end: int) -> None:
        self.table.advance(end)
        self.table.refill(cells, start)

    def _columns(self, start: int, end: int) -> list[int]:
        buckets = (end - start) // BUCKET_S
        return list(range(self.table.width - buckets + 1, self.table.width + 1))


def time_of(epoch_s: int) -> datetime:
    """Seconds since the epoch as an aware datetime."""
    return datetime.fromtimestamp(epoch_s, UTC)
