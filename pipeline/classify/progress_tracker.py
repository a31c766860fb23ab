"""Records in the ledger what became of each record, and publishes the progress of partitions."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from pipeline.classify.ledger_cache import LedgerCache
from pipeline.classify.ports import ProgressLog
from pipeline.classify.retries import Retries
from pipeline.classify.start_offsets import StartOffsets
from pipeline.domain.ledger import Entry, Partition
from pipeline.domain.metrics import Metrics
from pipeline.domain.post import Record
from pipeline.domain.progress import Progress
from pipeline.kafka.start_offset import PartitionBounds
from pipeline.store.protocol import ProgressStore


class ProgressTracker:
    """One per process. `now` is the wall clock, in UTC; no event time after `horizon()` moves the progress."""

    def __init__(
        self,
        *,
        store: ProgressStore,
        topic: ProgressLog,
        start_offsets: StartOffsets,
        retries: Retries,
        metrics: Metrics,
        horizon: Callable[[], datetime],
        now: Callable[[], datetime],
    ) -> None:
        self._store, self._topic, self._start_offsets = store, topic, start_offsets
        self._retries, self._metrics, self._horizon, self._now = retries, metrics, horizon, now
        self._ledger = LedgerCache(store, retries, horizon)
        self._in_flight: Counter[Partition] = Counter()

    @property
    def in_flight(self) -> int:
        """The number of records that were taken and are not durable yet."""
        return self._in_flight.total()

    def take(self, records: Iterable[Record]) -> None:
        """Counts records as in flight until `record` is called with them."""
        self._in_flight.update(partition_of(r) for r in records)

    def invalidate(self) -> None:
        """Call this when partitions were assigned: the ledger is then loaded from the store again."""
        self._ledger.invalidate()

    async def resolve(self, bounds: Mapping[Partition, PartitionBounds]) -> Mapping[Partition, int]:
        """Returns the offset from which each partition is read; raises as `StartOffsets.resolve` does."""
        return self._start_offsets.resolve(await self._ledger.get(), bounds)

    async def record(self, entries: Sequence[Entry]) -> None:
        """Records durable records in the ledger, which no longer are in flight, and publishes their partitions."""
        partitions = {partition_of(record) for record, _, _ in entries}
        ledger = await self._ledger.get()
        for key in partitions:
            ledger.select_log(key, self._start_offsets.log_of(key), self._topic.end_offset(key))
        ledger.record(entries, self._horizon())
        self._in_flight.subtract(partition_of(record) for record, _, _ in entries)
        await self.publish(partitions)

    async def publish(self, partitions: set[Partition]) -> None:
        """Writes the progress of partitions to the store and to the progress topic.

        The topic gets no update of a partition whose end is unknown: it would claim an empty partition that nobody has
        looked at. The store gets its progress all the same, because its records may already be committed, and then
        nobody reads them again.
        """
        ledger = await self._ledger.get()
        rows: list[Progress] = []
        updates: list[Progress] = []
        for key in sorted(partitions):
            end, position = self._topic.end_offset(key), self._topic.durable_offset(key)
            if not ledger.knows(key) and (end is None or position is None):
                continue
            ledger.select_log(key, self._start_offsets.log_of(key), end)
            row = ledger.report(
                key,
                end_offset=end,
                in_flight=self._in_flight[key],
                partitions=self._topic.partition_count(key[0]),
                position=position or 0,
                skipped=self._start_offsets.take_skipped(key),
                open_transaction=self._topic.has_open_transaction(key),
                now=self._now(),
            )
            rows.append(row)
            if end is not None:
                updates.append(row)
        for update in updates:
            self._metrics.lag.labels(update.topic, str(update.partition)).set(update.lag)
        await self._retries.run_blocking("progress", lambda: self._store.save_progress(rows))
        await asyncio.gather(*(self._send(update) for update in updates))

    async def _send(self, update: Progress) -> None:
        await self._retries.run("progress", lambda: self._topic.send(update))


def partition_of(record: Record) -> Partition:
    """The source partition that a record came from."""
    return record.origin[:2]
