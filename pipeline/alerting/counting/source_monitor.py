"""Looks for source outages: reads the past of the sources, and updates the metric, the log and the state."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from pipeline.alerting.counting.source_outage import (
    SOURCE_OUTAGES,
    SourceOutage,
    SourceOutages,
    history_start,
    source_outages,
)
from pipeline.domain.metrics import Metrics
from pipeline.store.protocol import CountingStore

log = logging.getLogger(__name__)
EVERY_S = 60.0
#: While sources that send nothing stop all verdicts, their first post has to count at once.
EVERY_NO_DATA_S = 5.0


class SourceMonitor:
    """`look` blocks. It reads the store at most every `EVERY_S` seconds, or `EVERY_NO_DATA_S` while `no_data`."""

    def __init__(
        self,
        store: CountingStore,
        metrics: Metrics,
        retired: Collection[str],
        no_data_share: float,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        """The `retired` sources may send nothing.

        If the sources with an outage sent `no_data_share` of all posts in the past, no verdict is possible.
        """
        self._store, self._metrics, self._now, self._monotonic = store, metrics, now, monotonic
        self._retired, self._no_data_share = frozenset(retired), no_data_share
        self._next_s = float("-inf")
        self.outages: list[SourceOutage] = []

    def idle_for_s(self, records: int) -> float:
        """Seconds for which no partition had advanced when this process took over, after `records` in all of them.

        0 where the last process did not save it, or where a partition has advanced since.
        """
        known = self._store.state(SOURCE_OUTAGES)
        if known is None or known.advanced_at is None or known.records != records:
            return 0.0
        return max(0.0, (self._now() - known.advanced_at).total_seconds())

    def look(self, reached: datetime, idle_for_s: float, records: int) -> None:
        """Looks for outages at the event time `reached`, after which nothing came for `idle_for_s` seconds.

        `records` were read from all partitions by then. Raises what the store raises.
        """
        if self._monotonic() < self._next_s:
            return
        end = reached + timedelta(seconds=idle_for_s)
        hours = self._store.source_hours(history_start(end), end)
        found = [outage for outage in source_outages(hours, end) if outage.source not in self._retired]
        known = {outage.source for outage in self.outages}
        for outage in found:
            if outage.source not in known:
                log.warning(
                    "source %r has sent nothing since %s, %.0f posts were expected; if that is intended, add it to "
                    "alerts.retired_sources",
                    outage.source,
                    outage.since.isoformat(),
                    outage.missing,
                )
        advanced_at = self._now() - timedelta(seconds=idle_for_s)
        self._store.put_state(SOURCE_OUTAGES, SourceOutages(tuple(found), advanced_at, records))
        self._metrics.source_outage.clear()
        for outage in found:
            self._metrics.source_outage.set(outage.missing, outage.source)
        self.outages = found
        self._next_s = self._monotonic() + (EVERY_NO_DATA_S if self.no_data() else EVERY_S)

    def no_data(self) -> str | None:
        """Why too little comes for a verdict; None where enough comes."""
        if sum(outage.share for outage in self.outages) < self._no_data_share:
            return None
        return f"nothing comes from {', '.join(outage.source for outage in self.outages[:5])}"
