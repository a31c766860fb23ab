"""Which sources are silent just now: reads their habit from the store, tells metrics, log and the state document."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import asdict
from datetime import datetime, timedelta

from pipeline.alerting.counting.source_outage import SourceOutage, history_start, silent_sources
from pipeline.domain.metrics import Metrics
from pipeline.domain.states import json_key
from pipeline.store.protocol import CountingStore

log = logging.getLogger(__name__)
#: The state document that the console and `status` read.
SILENT = json_key("silent_sources")
EVERY_S = 60.0
#: While nothing is judged for want of sources: their first word is to count at once.
EVERY_NO_DATA_S = 5.0


class SourceMonitor:
    """`look` blocks, and looks at most once in `EVERY_S` seconds, in `EVERY_NO_DATA_S` while `no_data`."""

    def __init__(self, store: CountingStore, metrics: Metrics, retired: Collection[str], no_data_share: float) -> None:
        """`retired` may be silent; without sources of `no_data_share` of the usual posts nothing can be judged."""
        self._store, self._metrics = store, metrics
        self._retired, self._no_data_share = frozenset(retired), no_data_share
        self._next_s = float("-inf")
        self.silent: list[SourceOutage] = []

    def quiet_s(self, records: int, now: datetime) -> float:
        """For how long nothing had come when this process took over, with `records` read of all partitions.

        0 where the one before did not say, or something came since.
        """
        known = (self._store.state(SILENT) or {}).get("last_news")
        if known is None or known["records"] != records:
            return 0.0
        return max(0.0, (now - datetime.fromisoformat(known["at"])).total_seconds())

    def look(self, reached: datetime, quiet_s: float, records: int, now: datetime, now_s: float) -> None:
        """`reached` is the event time of the last news, `quiet_s` seconds ago; raises what the store raises.

        `records` were read of all partitions by then; `now_s` is monotonic.
        """
        if now_s < self._next_s:
            return
        end = reached + timedelta(seconds=quiet_s)
        hours = self._store.source_hours(history_start(end), end)
        found = [s for s in silent_sources(hours, end) if s.source not in self._retired]
        known = {s.source for s in self.silent}
        for silence in found:
            if silence.source not in known:
                log.warning(
                    "source %r is silent since %s: %.0f posts were expected (alerts.retired_sources: it may be)",
                    silence.source,
                    silence.since.isoformat(),
                    silence.missing,
                )
        shown = [{**asdict(s), "since": s.since.isoformat()} for s in found]
        last_news = {"at": (now - timedelta(seconds=quiet_s)).isoformat(), "records": records}
        self._store.put_state(SILENT, {"sources": shown, "last_news": last_news})
        self._metrics.source_outage.clear()
        for silence in found:
            self._metrics.source_outage.set(silence.missing, silence.source)
        self.silent = found
        self._next_s = now_s + (EVERY_NO_DATA_S if self.no_data() else EVERY_S)

    def no_data(self) -> str | None:
        """Why what comes is too little to judge by; None where it is not."""
        if sum(s.share for s in self.silent) < self._no_data_share:
            return None
        return f"nothing comes from {', '.join(s.source for s in self.silent[:5])}"
