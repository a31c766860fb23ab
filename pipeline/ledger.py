"""Books per source partition: how far, and what became of each record. Pure.

A record counts once, however often it is delivered: offsets below the partition's `next_offset` are in the
books already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pipeline.posts import EPOCH, Post, Progress, Record
from pipeline.store.base import Outcome

Partition = tuple[str, int]


class Ledger:
    """Starts from the progress in the store; `enter` takes records of a partition in offset order."""

    def __init__(self, known: Mapping[Partition, Progress]) -> None:
        self._progress = dict(known)

    def enter(self, record: Record, outcome: Outcome, post: Post | None) -> None:
        """Books one durable record; REJECTED stands for every dead letter."""
        origin = record.origin
        key = (origin.topic, origin.partition)
        old = self._progress.get(key) or Progress(origin.topic, origin.partition, 0, 0, EPOCH)
        if origin.offset < old.next_offset:
            return
        # A post whose time is suspect was given the record's: it must not carry the clock to the present.
        reached = post.event_time if post and not post.time_suspect else old.event_time
        self._progress[key] = replace(
            old,
            next_offset=origin.offset + 1,
            end_offset=max(old.end_offset, origin.offset + 1),
            event_time=max(old.event_time, reached),
            indexed=old.indexed + (outcome in {Outcome.INDEXED, Outcome.REDELIVERED}),
            duplicate=old.duplicate + (outcome is Outcome.DUPLICATE),
            dead=old.dead + (outcome is Outcome.REJECTED),
        )

    def knows(self, partition: Partition) -> bool:
        """Whether a record of it was ever entered."""
        return partition in self._progress

    def seen(self, partition: Partition, *, end_offset: int, in_flight: int, partitions: int) -> Progress:
        """The partition's progress with its end and what is in flight now; it must be known."""
        old = self._progress[partition]
        new = replace(old, end_offset=max(end_offset, old.next_offset), in_flight=in_flight, partitions=partitions)
        self._progress[partition] = new
        return new
