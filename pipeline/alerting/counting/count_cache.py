"""Counts of closed days, which the store caches: months of history then cost one small read per day."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

import numpy as np
import orjson

from pipeline.alerting.counting.capped_counts import capped_counts
from pipeline.domain.counting import Cell, NegativeDefinition
from pipeline.domain.states import CachedCounts, InvalidationToken, counts_key, invalidation_key
from pipeline.store.closed_days import DAY, day_start, is_closed
from pipeline.store.protocol import CountingStore

#: Increases when the cells of a day or their packing change, so that days cached by another release are recounted.
_FORMAT = 2


class CountCache:
    """Reads counts in which no voice is loud, day by day, and those of closed days from the cache."""

    def __init__(
        self,
        store: CountingStore,
        definition: NegativeDefinition,
        *,
        keep: bool,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """With `keep` it fills the cache, which requires the right to write states."""
        self._store, self._definition, self._keep, self._now = store, definition, keep, now
        identity = f"{definition} {_FORMAT}"
        self._definition_id = hashlib.sha256(identity.encode()).hexdigest()[:12]

    def days(self, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime, list[Cell]]]:
        """(from, to, cells) for every day or part of a day in the range, in order; the caller refreshes the store."""
        while start < end:
            midnight = day_start(start.astimezone(UTC).date()) + DAY
            until = min(end, midnight)
            whole = until == midnight and start == midnight - DAY
            closed = whole and is_closed(start.date(), self._now())
            yield start, until, self._day(start) if closed else self._counts(start, until)
            start = until

    def _day(self, start: datetime) -> list[Cell]:
        day = start.date()
        token = self._store.state(invalidation_key(day)) or InvalidationToken()
        cached = self._store.state(counts_key(day))
        if cached is not None and (cached.mark, cached.rule) == (token.mark, self._definition_id):
            return unpacked(cached.cells, cached.body)
        # The counts must include every write that the token already covers.
        self._store.refresh()
        cells = self._counts(start, start + DAY)
        if self._keep:
            self._store.put_state(counts_key(day), CachedCounts(token.mark, self._definition_id, *packed(cells)))
        return cells

    def _counts(self, start: datetime, end: datetime) -> list[Cell]:
        return capped_counts(self._store, start, end, self._definition)


def packed(cells: Sequence[Cell]) -> tuple[int, str]:
    """The number of cells, and the cells packed: each name once, the numbers column by column, compressed.

    >>> unpacked(*packed([Cell(300, "autos", "", 7, 2, score_sum=2.25)]))
    [Cell(bucket=300, topic='autos', subject='', posts=7, negatives=2, source='', score_sum=2.25)]
    """
    names = sorted({(c.topic, c.subject, c.source) for c in cells})
    index = {name: i for i, name in enumerate(names)}
    rows = sorted((index[c.topic, c.subject, c.source], c.bucket, c.posts, c.negatives, c.score_sum) for c in cells)
    columns = np.array([row[:-1] for row in rows], "<i8").reshape(len(rows), 4).T
    sums = np.array([row[-1] for row in rows], "<f8")
    body = zlib.compress(orjson.dumps(names) + b"\n" + columns.tobytes() + sums.tobytes())
    return len(rows), base64.b64encode(body).decode()


def unpacked(count: int, packed_cells: str) -> list[Cell]:
    """The cells that `packed` was given, sorted by topic, subject and source."""
    head, _, body = zlib.decompress(base64.b64decode(packed_cells)).partition(b"\n")
    names = orjson.loads(head)
    columns = np.frombuffer(body, "<i8", 4 * count).reshape(4, count).tolist()
    sums = np.frombuffer(body, "<f8", count, offset=4 * count * 8).tolist()
    cells = []
    for index, bucket, posts, negatives, score_sum in zip(*columns, sums, strict=True):
        topic, subject, source = names[index]
        cells.append(Cell(bucket, topic, subject, posts, negatives, source, score_sum))
    return cells
