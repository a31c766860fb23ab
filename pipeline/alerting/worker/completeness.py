"""Up to which event time the alert role can evaluate: the index is complete, and enough sources send posts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from pipeline.alerting.counting.source_monitor import SourceMonitor
from pipeline.alerting.counting.watermark import Watermark
from pipeline.alerting.worker.retrying import StoreRetry
from pipeline.domain.progress import Progress
from pipeline.store.protocol import ProgressStore

log = logging.getLogger(__name__)


class Completeness:
    """No event time after `horizon()` counts as reached, and no bucket that ends after `ceiling()` is evaluated."""

    def __init__(
        self,
        watermark: Watermark,
        sources: SourceMonitor,
        store: ProgressStore,
        retry: StoreRetry,
        ceiling: Callable[[], datetime | None],
        horizon: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._watermark, self._sources, self._store, self._retry = watermark, sources, store, retry
        self._ceiling, self._horizon, self._monotonic = ceiling, horizon, monotonic

    def update(self, updates: Sequence[Progress]) -> None:
        """Takes the progress that workers reported, in any order."""
        known = set(self._watermark.ignored)
        self._watermark.update([p.bounded(self._horizon()) for p in updates], self._monotonic())
        for topic in sorted(self._watermark.ignored - known):
            log.info("progress of topic %s is ignored, because the topic is not in kafka.topics", topic)

    async def restore(self, since_s: float) -> None:
        """Takes the progress in the store, for a process that took over at the monotonic time `since_s`."""
        stored = (await self._retry(self._store.load_progress)).values()
        known = [p.bounded(self._horizon()) for p in stored if self._watermark.reads(p.topic)]
        if retired := sorted({p.topic for p in stored} - {p.topic for p in known}):
            log.info("verdicts do not wait for topics that left kafka.topics: %s", ", ".join(retired))
        records = sum(p.next_offset for p in known)
        idle_for_s = await self._retry(lambda: self._sources.idle_for_s(records))
        self._watermark.update(known, since_s - idle_for_s, stored=True)

    async def complete_to(self) -> datetime | None:
        """The event time up to which buckets can be evaluated; None while no verdict is possible."""
        reached, ceiling = self._watermark.at(self._monotonic()), self._ceiling()
        if reached is None:
            return None
        moment = min(reached, ceiling) if ceiling else reached
        idle_for_s, records = self._watermark.idle_for_s(self._monotonic()), self._watermark.records()
        await self._retry(lambda: self._sources.look(moment, idle_for_s, records))
        return None if self._sources.no_data() else moment

    def lagging(self) -> bool:
        """Whether any partition has records that are not indexed."""
        return self._watermark.lagging()
