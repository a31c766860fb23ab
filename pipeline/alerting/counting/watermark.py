"""The event time up to which the index is complete. Pure: the clock is an argument."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from pipeline.domain.ledger import Partition
from pipeline.domain.post import EPOCH
from pipeline.domain.progress import Progress, same_log

#: A worker hears of a new record in Kafka within this many seconds (its fetches wait half a second).
FETCH_S = 1.0


@dataclass(frozen=True, slots=True)
class _Seen:
    """`news_s` is when it last brought a record, `heard_s` when the worker last spoke of it at all."""

    progress: Progress
    news_s: float
    heard_s: float


class Watermark:
    """The least event time over the source partitions, without those that are idle.

    A partition is idle when it has no lag and has brought nothing new for `idle_s` seconds; one with a lag
    always holds the watermark back. When all are idle the watermark is the furthest of them.

    Silence is no proof: posts of the same minute may wait in an idle partition that its worker has not fetched
    from yet. So a rise counts only once every idle partition was heard of after it, still without a lag, and none
    counts before every partition of each of `topics` was heard of. Other topics are ignored, where `topics` are given:
    nobody speaks of one that left the settings.
    """

    def __init__(self, idle_s: float, topics: Iterable[str] = ()) -> None:
        self._idle_s, self._topics = idle_s, frozenset(topics)
        self._seen: dict[Partition, _Seen] = {}
        #: Of each topic what was said last: the log that it is.
        self._logs: dict[str, Progress] = {}
        self._waiting: tuple[datetime, float] | None = None
        #: Topics that progress was ignored of.
        self.ignored: set[str] = set()
        self._reached: datetime | None = None

    def update(self, progress: Iterable[Progress], now_s: float, *, stored: bool = False) -> None:
        """Takes news in any order; `now_s` is monotonic. `stored`: nobody said it now, it has been so since `now_s`."""
        for p in progress:
            key = (p.topic, p.partition)
            old = self._seen.get(key)
            heard_s = float("-inf") if stored else now_s
            if not self.reads(p.topic):
                self.ignored.add(p.topic)
            elif not self._is_of_the_log(p, stored=stored):
                continue  # it was said of a former log of that name
            elif old is not None and p.log != old.progress.log:
                self._seen[key] = _Seen(p, now_s, heard_s)
            elif old is None or p.next_offset > old.progress.next_offset:
                self._seen[key] = _Seen(p, now_s, heard_s)
            elif p.next_offset == old.progress.next_offset or p.reported_at > old.progress.reported_at:
                self._seen[key] = _Seen(p, min(now_s, old.news_s), max(heard_s, old.heard_s))

    def reads(self, topic: str) -> bool:
        """Whether the topic is one of those that verdicts wait for."""
        return not self._topics or topic in self._topics

    def _is_of_the_log(self, p: Progress, *, stored: bool) -> bool:
        """Whether the topic is that log, as far as was said last. Offsets of another one mean nothing in it, and it
        may have had more partitions.
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
        """Never goes back; None before the first event time that can be relied upon."""
        if not self._seen or self.unheard():
            return self._reached
        idle = [s for s in self._seen.values() if not s.progress.lag and now_s - s.news_s >= self._idle_s]
        busy = [s.progress.event_time for s in self._seen.values() if s.progress.lag or now_s - s.news_s < self._idle_s]
        candidate = min(busy) if busy else max(s.progress.event_time for s in idle)
        value, since_s = self._waiting or (candidate, now_s)
        value = min(value, candidate)
        if any(s.heard_s < since_s + FETCH_S for s in idle):
            self._waiting = value, since_s
            return self._reached
        self._waiting = (candidate, now_s) if candidate > value else None
        if value > (self._reached or EPOCH):
            self._reached = value
        return self._reached

    def unheard(self) -> list[str]:
        """Partitions (`topic/partition`; a topic where nothing is known of it) that no worker ever spoke of."""
        known = {s.progress.topic: max(1, s.progress.partitions) for s in self._seen.values()}
        missing = [f"{t}/{p}" for t, n in known.items() for p in range(n) if (t, p) not in self._seen]
        return sorted([*missing, *(self._topics - known.keys())])

    def silent(self, now_s: float, after_s: float) -> list[str]:
        """Partitions that no worker has spoken of for `after_s` seconds."""
        return sorted(f"{t}/{p}" for (t, p), s in self._seen.items() if now_s - max(s.heard_s, s.news_s) > after_s)

    def stuck(self, now_s: float, after_s: float, *, open_transaction: bool = False) -> list[str]:
        """Partitions with a lag that brought nothing new for `after_s` seconds: they hold the watermark back, whatever
        moves in others. `open_transaction`: only those where that is why.
        """
        return sorted(
            f"{t}/{p}"
            for (t, p), s in self._seen.items()
            if s.progress.lag and now_s - s.news_s > after_s and s.progress.open_transaction >= open_transaction
        )

    def lagging(self) -> bool:
        """Whether any partition has records that are not indexed."""
        return any(s.progress.lag for s in self._seen.values())

    def records(self) -> int:
        """Records read of all partitions together: more of them are news."""
        return sum(s.progress.next_offset for s in self._seen.values())

    def quiet_s(self, now_s: float) -> float:
        """Seconds since any partition brought something new; 0 before the first progress."""
        return min((now_s - s.news_s for s in self._seen.values()), default=0.0)
