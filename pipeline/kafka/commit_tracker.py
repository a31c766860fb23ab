"""Tracks which delivered records of a partition are durable, and so which offset may be committed. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(slots=True)
class ChunkState:
    """The offsets `first..last` of one partition; `durable` once all their records are indexed or dead-lettered."""

    first: int
    last: int
    records: int
    size_bytes: int
    durable: bool = False


class CommitTracker:
    """The delivered chunks of one partition, in order; the contiguous durable prefix of them may be committed.

    >>> tracker = CommitTracker()
    >>> one, two = tracker.deliver(5, 6, 2, 90), tracker.deliver(9, 9, 1, 40)
    >>> tracker.uncommitted
    (3, 130)
    >>> two.durable = True; tracker.advance()
    >>> one.durable = True; tracker.advance()
    10
    """

    def __init__(self) -> None:
        self._pending: deque[ChunkState] = deque()
        self._position: int | None = None
        #: The offset to commit, as far as `advance` has come; None until it has come anywhere.
        self.committable: int | None = None

    def deliver(self, first: int, last: int, records: int, size_bytes: int) -> ChunkState:
        """Adds the next chunk. An offset lower than the last one means a seek back, which forgets what followed it."""
        while self._pending and self._pending[-1].last >= first:
            self._pending.pop()
        if self._position is not None and first < self._position:
            self._position, self.committable = first, None
        chunk = ChunkState(first, last, records, size_bytes)
        self._pending.append(chunk)
        return chunk

    def note_position(self, position: int) -> None:
        """Notes that every record below `position` was delivered, or never will be."""
        self._position = position

    @property
    def durable_offset(self) -> int | None:
        """The first offset that is not known to be durable; None before the position is known."""
        return next((chunk.first for chunk in self._pending if not chunk.durable), self._position)

    def advance(self) -> int | None:
        """Removes the durable prefix and returns the next offset to read; None if nothing has changed."""
        reached = None
        while self._pending and self._pending[0].durable:
            reached = self._pending.popleft().last + 1
        if not self._pending and self._position is not None and self._position > (self.committable or -1):
            reached = max(reached or 0, self._position)
        if reached is not None:
            self.committable = max(self.committable or 0, reached)
        return reached

    @property
    def uncommitted(self) -> tuple[int, int]:
        """The delivered records that are not durable yet, and their bytes."""
        pending = [chunk for chunk in self._pending if not chunk.durable]
        return sum(chunk.records for chunk in pending), sum(chunk.size_bytes for chunk in pending)
