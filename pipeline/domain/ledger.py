"""A ledger per source partition: how far it is read, and what became of each record. Pure.

A record counts once, however often it is delivered: the ledger already holds every offset below a partition's
`next_offset`. An offset means something in one log only, so each entry belongs to the identity of a log. A topic that
was deleted and created again, or a topic of the same name in another cluster, has an entry of its own; the entries of
former logs stay as they are.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from pipeline.domain.post import EPOCH, Outcome, Post, Record
from pipeline.domain.progress import Progress, is_named, same_log

Partition = tuple[str, int]
#: A record, what became of it, and its post if it is one.
Entry = tuple[Record, Outcome, Post | None]
#: A horizon for callers without a clock: no event time lies after it.
NO_HORIZON = datetime.max.replace(tzinfo=UTC)


def current_progress(rows: Iterable[Progress]) -> dict[Partition, Progress]:
    """The most recent progress of each partition; the other rows belong to former logs.

    A partition is left out if its most recent progress belongs to a former log of its topic.
    """
    found: dict[Partition, Progress] = {}
    for row in rows:
        old = found.get((row.topic, row.partition))
        if old is None or _recency(row) >= _recency(old):
            found[row.topic, row.partition] = row
    newest: dict[str, Progress] = {}
    for row in sorted(found.values(), key=_recency):
        newest[row.topic] = row
    return {key: row for key, row in found.items() if same_log(row.log, newest[row.topic].log)}


def _recency(row: Progress) -> tuple[datetime, bool, int]:
    return row.reported_at, is_named(row.log), row.next_offset


class Ledger:
    """Starts from the progress in the store; `record` takes the records of a partition in offset order."""

    def __init__(
        self, current: Mapping[Partition, Progress], rows: Iterable[Progress] = (), horizon: datetime = NO_HORIZON
    ) -> None:
        """`rows` are all progress records of the store, those of former logs included.

        `horizon` bounds the event times in them: an older release took event times from clocks that were ahead.
        """
        self._progress = {key: row.bounded(horizon) for key, row in current.items()}
        self._rows = {(row.topic, row.partition, row.log): row.bounded(horizon) for row in [*current.values(), *rows]}
        self._reported = {key: row.next_offset for key, row in self._progress.items()}

    def select_log(self, partition: Partition, log: str, end_offset: int | None = None) -> Progress | None:
        """Selects the entry of the log that `partition` has now; call this before `record` and `report`.

        Returns the entry of the former log if the partition changes to a new one, otherwise None. If the log has no
        identity, a log that ends before the offset that was read is taken for another log.
        """
        old = self._progress.get(partition)
        if old is None:
            former = [row for row in self._rows_of(partition) if not same_log(row.log, log)]
            known = (*partition, log) in self._rows
            self._select(self._rows.get((*partition, log)) or Progress(*partition, 0, 0, EPOCH, log=log))
            return max(former, key=_recency) if former and not known else None
        shorter = not is_named(old.log) and end_offset is not None and end_offset < old.next_offset
        if same_log(old.log, log) and not shorter:
            if is_named(log) and log != old.log:
                self._adopt(partition, log, old)
            return None
        name = log if is_named(log) else f"unknown-{len(self._rows_of(partition))}"
        self._select(self._rows.get((*partition, name)) or Progress(*partition, 0, 0, EPOCH, log=name))
        return old

    def _adopt(self, partition: Partition, log: str, old: Progress) -> None:
        """Continues an entry without a log under the name of its log; the counts so far stay in the old entry."""
        own = self._rows.get((*partition, log)) or Progress(*partition, 0, 0, EPOCH, log=log)
        if own.next_offset < old.next_offset:
            own = replace(own, next_offset=old.next_offset, end_offset=old.end_offset, event_time=old.event_time)
        self._select(own)

    def _select(self, entry: Progress) -> None:
        key = (entry.topic, entry.partition)
        self._progress[key] = self._rows[*key, entry.log] = entry

    def _rows_of(self, partition: Partition) -> list[Progress]:
        return [row for key, row in self._rows.items() if key[:2] == partition]

    def record(self, entries: Iterable[Entry], horizon: datetime = NO_HORIZON) -> None:
        """Records what became of durable records; REJECTED stands for every dead letter."""
        by_partition: dict[Partition, list[Entry]] = defaultdict(list)
        for entry in entries:
            by_partition[entry[0].origin[:2]].append(entry)
        for key, mine in by_partition.items():
            self._progress[key] = _recorded(self._progress.get(key) or Progress(*key, 0, 0, EPOCH), mine, horizon)

    def knows(self, partition: Partition) -> bool:
        """Whether the partition has an entry."""
        return partition in self._progress

    def next_offset(self, partition: Partition, log: str) -> int | None:
        """The offset below which every record of this very log is durable; None if the log has no entry."""
        rows = [self._rows.get((*partition, log)), self._progress.get(partition)]
        return max((row.next_offset for row in rows if row is not None and same_log(row.log, log)), default=None)

    def report(
        self,
        partition: Partition,
        *,
        end_offset: int | None,
        in_flight: int,
        partitions: int,
        position: int = 0,
        skipped: int = 0,
        open_transaction: bool = False,
        now: datetime = EPOCH,
    ) -> Progress:
        """The progress of a partition that the ledger knows, with its end and what is in flight now.

        An `end_offset` of None keeps the last known end. All records below `position` are durable or will never be
        delivered: transaction markers, records of aborted transactions, compacted records and `skipped` records.
        """
        self.select_log(partition, "", end_offset)
        old = self._progress[partition]
        next_offset = max(old.next_offset, position)
        end_offset = old.end_offset if end_offset is None else max(end_offset, next_offset)
        new = replace(
            old,
            next_offset=next_offset,
            end_offset=max(end_offset, next_offset),
            in_flight=in_flight,
            partitions=partitions,
            skipped=old.skipped + skipped,
            open_transaction=open_transaction,
            reported_at=now,
        )
        if not new.lag or next_offset > self._reported.get(partition, -1):
            new = replace(new, advanced_at=now)
        self._reported[partition] = next_offset
        self._progress[partition] = new
        return new


def _recorded(old: Progress, entries: Iterable[Entry], horizon: datetime) -> Progress:
    next_offset, event_time, found = old.next_offset, old.event_time, Counter[Outcome]()
    for record, outcome, post in entries:
        if record.origin.offset < next_offset:
            continue
        next_offset = record.origin.offset + 1
        found[outcome] += 1
        # A post with a suspect time has the time of its record: it must not move the event time to the present.
        if post and not post.time_suspect and post.event_time > event_time:
            event_time = max(event_time, _bounded_time(record, post, horizon))
    return replace(
        old,
        next_offset=next_offset,
        end_offset=max(old.end_offset, next_offset),
        event_time=event_time,
        indexed=old.indexed + found[Outcome.INDEXED] + found[Outcome.REDELIVERED],
        duplicate=old.duplicate + found[Outcome.DUPLICATE],
        dead=old.dead + found[Outcome.REJECTED],
    )


def _bounded_time(record: Record, post: Post, horizon: datetime) -> datetime:
    """The event time by the clock of the author, of the producer, or of this process: the earliest of the three."""
    return min(post.event_time, datetime.fromtimestamp(record.timestamp_ms / 1000, UTC), horizon)
