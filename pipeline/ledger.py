"""Books per source partition: how far, and what became of each record. Pure.

A record counts once, however often it is delivered: offsets below the partition's `next_offset` are in the
books already.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from pipeline.posts import EPOCH, Post, Progress, Record
from pipeline.store.base import Outcome

Partition = tuple[str, int]
#: A record, what became of it, and its post where it is one.
Entry = tuple[Record, Outcome, Post | None]


class Ledger:
    """Starts from the progress in the store; `enter` takes records of a partition in offset order."""

    def __init__(self, known: Mapping[Partition, Progress]) -> None:
        self._progress = dict(known)

    def enter(self, entries: Iterable[Entry]) -> None:
        """Books durable records; REJECTED stands for every dead letter."""
        by_partition: dict[Partition, list[Entry]] = defaultdict(list)
        for entry in entries:
            by_partition[entry[0].origin[:2]].append(entry)
        for key, mine in by_partition.items():
            self._progress[key] = _booked(self._progress.get(key) or Progress(*key, 0, 0, EPOCH), mine)

    def knows(self, partition: Partition) -> bool:
        """Whether a record of it was ever entered."""
        return partition in self._progress

    def seen(self, partition: Partition, *, end_offset: int | None, in_flight: int, partitions: int) -> Progress:
        """The partition's progress with its end and what is in flight now; it must be known.

        An `end_offset` of None leaves the one that was seen last.
        """
        old = self._progress[partition]
        end_offset = old.end_offset if end_offset is None else max(end_offset, old.next_offset)
        new = replace(old, end_offset=end_offset, in_flight=in_flight, partitions=partitions)
        self._progress[partition] = new
        return new


def _booked(old: Progress, entries: Iterable[Entry]) -> Progress:
    next_offset, event_time, found = old.next_offset, old.event_time, Counter[Outcome]()
    for record, outcome, post in entries:
        if record.origin.offset < next_offset:
            continue
        next_offset = record.origin.offset + 1
        found[outcome] += 1
        # A post whose time is suspect was given the record's: it must not carry the clock to the present.
        if post and not post.time_suspect and post.event_time > event_time:
            event_time = post.event_time
    return replace(
        old,
        next_offset=next_offset,
        end_offset=max(old.end_offset, next_offset),
        event_time=event_time,
        indexed=old.indexed + found[Outcome.INDEXED] + found[Outcome.REDELIVERED],
        duplicate=old.duplicate + found[Outcome.DUPLICATE],
        dead=old.dead + found[Outcome.REJECTED],
    )
