"""Whether records move: partitions with work waiting in which nothing happens. Pure: the caller tells the time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

#: A batch may take a while; no offset and no open record moves in it.
STALL_S = 60.0


class PartitionPosition(NamedTuple):
    """A partition: the next offset to fetch, the records taken that are not durable yet, and the end."""

    partition: tuple[str, int]
    position: int
    open_records: int
    end: int

    @property
    def waits(self) -> bool:
        return self.open_records > 0 or self.position < self.end


class Movement:
    """Remembers when each partition last moved, or had nothing to do.

    >>> movement = Movement()
    >>> for now in (0.0, 90.0):
    ...     movement.look([PartitionPosition(("t", 0), 5, 0, 9)], now)
    >>> movement.stalled(90.0)
    'records wait in t/0 at offset 5, and nothing moved for 90 s'
    """

    def __init__(self) -> None:
        self._moved: dict[tuple[str, int], tuple[PartitionPosition, float]] = {}

    def look(self, places: Iterable[PartitionPosition], now: float) -> None:
        """Partitions that are not among `places` are no longer held."""
        fresh: dict[tuple[str, int], tuple[PartitionPosition, float]] = {}
        for place in places:
            old = self._moved.get(place.partition)
            same = old is not None and place.waits and old[0][:3] == place[:3]
            fresh[place.partition] = (place, old[1] if old is not None and same else now)
        self._moved = fresh

    def stalled(self, now: float) -> str | None:
        """The partition that has stood still for longest, where that is too long."""
        place, since = min(self._moved.values(), key=lambda entry: entry[1], default=(None, now))
        if place is None or now - since < STALL_S:
            return None
        name = "/".join(map(str, place.partition))
        return f"records wait in {name} at offset {place.position}, and nothing moved for {now - since:.0f} s"
