"""Books per source partition: how far, and what became of each record. Pure.

A record counts once, however often it is delivered: offsets below the partition's `next_offset` are in the
books already. Offsets mean something in one log only, so books belong to the identity of a log: a topic that was
created again under its name, or in another cluster, has books of its own, and the former ones stay as they are.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from pipeline.domain.post import EPOCH, Outcome, Post, Record
from pipeline.domain.progress import Progress, is_named, same_log

Partition = tuple[str, int]
#: A record, what became of it, and its post where it is one.
Entry = tuple[Record, Outcome, Post | None]
#: The clock of who knows none: no event time lies after it.
NO_CLOCK = datetime.max.replace(tzinfo=UTC)


def current(rows: Iterable[Progress]) -> dict[Partition, Progress]:
    """Of each partition the books that were written last; the others are those of former logs.

    A partition whose books are not of the log that its topic is now is left out.
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
    """Starts from the progress in the store; `enter` takes records of a partition in offset order.

    `rows` are all books of the store, with those of former logs; `now` bounds event times that an older release
    took from clocks that were ahead.
    """

    def __init__(
        self, known: Mapping[Partition, Progress], rows: Iterable[Progress] = (), now: datetime = NO_CLOCK
    ) -> None:
        self._progress = {key: p.bounded(now) for key, p in known.items()}
        self._rows = {(p.topic, p.partition, p.log): p.bounded(now) for p in [*known.values(), *rows]}
        self._reported = {key: p.next_offset for key, p in self._progress.items()}

    def locate(self, partition: Partition, log: str, end_offset: int | None = None) -> Progress | None:
        """Turns to the books of the log that `partition` is now; call it before `enter` and `seen`.

        Returns the books that are closed by this, None where none are. Without an identity, a log that ends before
        what was read of it is another one.
        """
        old = self._progress.get(partition)
        if old is None:
            former = [row for row in self._of(partition) if not same_log(row.log, log)]
            known = (*partition, log) in self._rows
            self._open(self._rows.get((*partition, log)) or Progress(*partition, 0, 0, EPOCH, log=log))
            return max(former, key=_recency) if former and not known else None
        shorter = not is_named(old.log) and end_offset is not None and end_offset < old.next_offset
        if same_log(old.log, log) and not shorter:
            if is_named(log) and log != old.log:
                self._adopt(partition, log, old)
            return None
        name = log if is_named(log) else f"unknown-{len(self._of(partition))}"
        self._open(self._rows.get((*partition, name)) or Progress(*partition, 0, 0, EPOCH, log=name))
        return old

    def _adopt(self, partition: Partition, log: str, old: Progress) -> None:
        """Books that named no log go on under its name; what they had counted stays in them."""
        own = self._rows.get((*partition, log)) or Progress(*partition, 0, 0, EPOCH, log=log)
        if own.next_offset < old.next_offset:
            own = replace(own, next_offset=old.next_offset, end_offset=old.end_offset, event_time=old.event_time)
        self._open(own)

    def _open(self, books: Progress) -> None:
        key = (books.topic, books.partition)
        self._progress[key] = self._rows[*key, books.log] = books

    def _of(self, partition: Partition) -> list[Progress]:
        return [row for key, row in self._rows.items() if key[:2] == partition]

    def enter(self, entries: Iterable[Entry], now: datetime = NO_CLOCK) -> None:
        """Books durable records; REJECTED stands for every dead letter."""
        by_partition: dict[Partition, list[Entry]] = defaultdict(list)
        for entry in entries:
            by_partition[entry[0].origin[:2]].append(entry)
        for key, mine in by_partition.items():
            self._progress[key] = _booked(self._progress.get(key) or Progress(*key, 0, 0, EPOCH), mine, now)

    def knows(self, partition: Partition) -> bool:
        """Whether there are books of it."""
        return partition in self._progress

    def next_offset(self, partition: Partition, log: str) -> int | None:
        """Below it every record of this very log is durable; None where there are no books of it."""
        rows = [self._rows.get((*partition, log)), self._progress.get(partition)]
        return max((row.next_offset for row in rows if row is not None and same_log(row.log, log)), default=None)

    def seen(
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
        """The partition's progress with its end and what is in flight now; it must be known.

        An `end_offset` of None leaves the one that was seen last. All records below `position` are durable, or were
        never given to anybody: markers and aborted records of transactions, what compaction took, `skipped` ones.
        """
        self.locate(partition, "", end_offset)
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


def _booked(old: Progress, entries: Iterable[Entry], now: datetime) -> Progress:
    next_offset, event_time, found = old.next_offset, old.event_time, Counter[Outcome]()
    for record, outcome, post in entries:
        if record.origin.offset < next_offset:
            continue
        next_offset = record.origin.offset + 1
        found[outcome] += 1
        # A post whose time is suspect was given the record's: it must not carry the clock to the present.
        if post and not post.time_suspect and post.event_time > event_time:
            event_time = max(event_time, _clock(record, post, now))
    return replace(
        old,
        next_offset=next_offset,
        end_offset=max(old.end_offset, next_offset),
        event_time=event_time,
        indexed=old.indexed + found[Outcome.INDEXED] + found[Outcome.REDELIVERED],
        duplicate=old.duplicate + found[Outcome.DUPLICATE],
        dead=old.dead + found[Outcome.REJECTED],
    )


def _clock(record: Record, post: Post, now: datetime) -> datetime:
    """What a post says of how late it is: its author's clock, its producer's and ours, whichever is behind."""
    return min(post.event_time, datetime.fromtimestamp(record.timestamp_ms / 1000, UTC), now)
