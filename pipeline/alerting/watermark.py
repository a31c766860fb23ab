"""The event time up to which the index is complete. Pure: the clock is an argument."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from pipeline.ledger import Partition
from pipeline.posts import Progress


@dataclass(frozen=True, slots=True)
class _Seen:
    progress: Progress
    at_s: float


class Watermark:
    """The least event time over the source partitions, without those that are idle.

    A partition is idle when it has no lag and has brought nothing new for `idle_s` seconds; one with a lag
    always holds the watermark back. When all are idle the watermark is the furthest of them.
    """

    def __init__(self, idle_s: float) -> None:
        self._idle_s = idle_s
        self._seen: dict[Partition, _Seen] = {}
        self._reached: datetime | None = None

    def update(self, progress: Iterable[Progress], now_s: float) -> None:
        """Takes news in any order; `now_s` is monotonic."""
        for p in progress:
            key = (p.topic, p.partition)
            old = self._seen.get(key)
            if old is None or p.next_offset > old.progress.next_offset:
                self._seen[key] = _Seen(p, now_s)
            elif p.next_offset == old.progress.next_offset:
                self._seen[key] = _Seen(p, old.at_s)

    def at(self, now_s: float) -> datetime | None:
        """Never goes back; None before the first progress."""
        if not self._seen:
            return None
        busy = [s.progress.event_time for s in self._seen.values() if s.progress.lag or now_s - s.at_s < self._idle_s]
        reached = min(busy) if busy else max(s.progress.event_time for s in self._seen.values())
        if self._reached is None or reached > self._reached:
            self._reached = reached
        return self._reached

    def lagging(self) -> bool:
        """Whether any partition has records that are not indexed."""
        return any(s.progress.lag for s in self._seen.values())

    def quiet_s(self, now_s: float) -> float:
        """Seconds since any partition brought something new; 0 before the first progress."""
        return min((now_s - s.at_s for s in self._seen.values()), default=0.0)
