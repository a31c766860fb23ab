"""The event time up to which the index is complete. Pure: the clock is an argument."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from pipeline.domain.ledger import Partition
from pipeline.domain.post import EPOCH
from pipeline.domain.progress import Progress, same_log

#: A worker learns of a new record in Kafka within this many seconds (its fetches wait half a second).
FETCH_S = 1.0


@dataclass(frozen=True, slots=True)
class _Seen:
    """The last progress of a partition, which advanced at `advanced_s` and was last reported at `reported_s`."""

    progress: Progress
    advanced_s: float
    reported_s: float


class Watermark:
    """The lowest event time over the source partitions, without those that are idle. Times are monotonic seconds.

    A partition is idle when it has no lag and has not advanced for `idle_s` seconds; one with a lag always holds the
    watermark back. When all are idle, the watermark is the furthest of them.

    An idle partition proves nothing by itself: posts of the same minute may wait in a partition from which its worker
    has not fetched yet. The watermark therefore only rises once the worker of every idle partition has reported after
    the rise that there is still no lag, and it stays unknown until every partition of each of `topics` was reported.
    With `topics`, the watermark ignores every other topic, because no worker reports one that left the settings.
    """

    def __init__(self, idle_s: float, topics: Iterable[str] = ()) -> None:
        self._idle_s, self._topics = idle_s, frozenset(topics)
        self._seen: dict[Partition, _Seen] = {}
        #: The last progress of each topic, which names the topic's current log.
        self._logs: dict[str, Progress] = {}
        self._waiting: tuple[datetime, float] | None = None
        #: Topics whose progress was ignored.
        self.ignored: set[str] = set()
        self._reached: datetime | None = None

    def update(self, progress: Iterable[Progress], now_s: float, *, stored: bool = False) -> None:
        """Takes progress in any order.

        `stored` progress was read from the store: no worker reported it now, and it has not advanced since `now_s`.
        """
        for p in progress:
            key = (p.topic, p.partition)
            old = self._seen.get(key)
            reported_s = float("-inf") if stored else now_s
            if not self.reads(p.topic):
                self.ignored.add(p.topic)
            elif not self._belongs_to_log(p, stored=stored):
                continue  # the progress belongs to a former log of that name
            elif old is not None and p.log != old.progress.log:
                self._seen[key] = _Seen(p, now_s, reported_s)
            elif old is None or p.next_offset > old.progress.next_offset:
                self._seen[key] = _Seen(p, now_s, reported_s)
            elif p.next_offset == old.progress.next_offset or p.reported_at > old.progress.reported_at:
                self._seen[key] = _Seen(p, min(now_s, old.advanced_s), max(reported_s, old.reported_s))

    def reads(self, topic: str) -> bool:
        """Whether verdicts wait for the topic."""
        return not self._topics or topic in self._topics

    def _belongs_to_log(self, p: Progress, *, stored: bool) -> bool:
        """Whether the progress belongs to the current log of its topic.

        The offsets of another log mean nothing in this one, and the other log may have had more partitions.
        """
        known = self._logs.get(p.topic)
        if known is not None and known.log != p.log:
            if stored or p.reported_at < known.reported_at:
                return not stored and same_log(known.log, p.log)
            for key, seen in list(self._seen.items()):
                if key[0] == p.topic and key[1] >= p.partitions > 0 and not same_log(seen.progress.log, p.log):
                    del self._seen[key]
        if known is None or known.log != p.log or p.reported_at > known.reported_at:
            self._logs[p.topic] = p
        return True

    def at(self, now_s: float) -> datetime | None:
        """The watermark, which never goes back; None while it is unknown."""
        if not self._seen or self.never_reported():
            return self._reached
        idle = [s for s in self._seen.values() if not s.progress.lag and now_s - s.advanced_s >= self._idle_s]
        busy = [
            s.progress.event_time for s in self._seen.values() if s.progress.lag or now_s - s.advanced_s < self._idle_s
        ]
        candidate = min(busy) if busy else max(s.progress.event_time for s in idle)
        value, since_s = self._waiting or (candidate, now_s)
        value = min(value, candidate)
        if any(s.reported_s < since_s + FETCH_S for s in idle):
            self._waiting = value, since_s
            return self._reached
        self._waiting = (candidate, now_s) if candidate > value else None
        if value > (self._reached or EPOCH):
            self._reached = value
        return self._reached

    def never_reported(self) -> list[str]:
        """Partitions (`topic/partition`, or the topic where none is known) that no worker has ever reported."""
        known = {s.progress.topic: max(1, s.progress.partitions) for s in self._seen.values()}
        missing = [f"{t}/{p}" for t, n in known.items() for p in range(n) if (t, p) not in self._seen]
        return sorted([*missing, *(self._topics - known.keys())])

    def unreported(self, now_s: float, after_s: float) -> list[str]:
        """Partitions that no worker has reported for more than `after_s` seconds."""
        last = {key: max(s.reported_s, s.advanced_s) for key, s in self._seen.items()}
        return sorted(f"{topic}/{partition}" for (topic, partition), at_s in last.items() if now_s - at_s > after_s)

    def stuck(self, now_s: float, after_s: float, *, open_transaction: bool = False) -> list[str]:
        """Partitions with a lag that have not advanced for more than `after_s` seconds.

        They hold the watermark back, whatever the others do. With `open_transaction`, only those that an uncommitted
        transaction holds back.
        """
        return sorted(
            f"{t}/{p}"
            for (t, p), s in self._seen.items()
            if s.progress.lag and now_s - s.advanced_s > after_s and s.progress.open_transaction >= open_transaction
        )

    def lagging(self) -> bool:
        """Whether any partition has records that are not indexed."""
        return any(s.progress.lag for s in self._seen.values())

    def records(self) -> int:
        """The number of records that workers have read from all partitions together."""
        return sum(s.progress.next_offset for s in self._seen.values())

    def idle_for_s(self, now_s: float) -> float:
        """Seconds since any partition advanced; 0 before the first progress."""
        return min((now_s - s.advanced_s for s in self._seen.values()), default=0.0)
