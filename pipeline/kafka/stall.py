"""Detects partitions with records waiting in which nothing moves. Pure: the caller passes the time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

#: A large batch may keep every offset still for a while; only longer counts as a stall.
STALL_S = 60.0


class PartitionPosition(NamedTuple):
    """A partition: the next offset to fetch, the number of uncommitted records, and the end of the log."""

    partition: tuple[str, int]
    position: int
    uncommitted: int
    end: int

    @property
    def has_work(self) -> bool:
        return self.uncommitted > 0 or self.position < self.end


class StallDetector:
    """Remembers when each partition last moved or had nothing to do; times are in seconds.

    >>> detector = StallDetector()
    >>> for now in (0.0, 90.0):
    ...     detector.observe([PartitionPosition(("t", 0), 5, 0, 9)], now)
    >>> detector.stalled(90.0)
    'records wait in t/0 at offset 5, and nothing moved for 90 s'
    """

    def __init__(self) -> None:
        self._moved: dict[tuple[str, int], tuple[PartitionPosition, float]] = {}

    def observe(self, positions: Iterable[PartitionPosition], now: float) -> None:
        """Takes the positions of all assigned partitions; it forgets any other partition."""
        moved: dict[tuple[str, int], tuple[PartitionPosition, float]] = {}
        for current in positions:
            before = self._moved.get(current.partition)
            still = before is not None and current.has_work and before[0][:3] == current[:3]
            moved[current.partition] = (current, before[1] if before is not None and still else now)
        self._moved = moved

    def stalled(self, now: float) -> str | None:
        """Describes the partition that has not moved for longest, once that is too long; None otherwise."""
        position, since = min(self._moved.values(), key=lambda entry: entry[1], default=(None, now))
        if position is None or now - since < STALL_S:
            return None
        name = "/".join(map(str, position.partition))
        return f"records wait in {name} at offset {position.position}, and nothing moved for {now - since:.0f} s"
