"""Detects that no verdict is possible, and why."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from pipeline.alerting.counting.source_monitor import SourceMonitor
from pipeline.alerting.counting.watermark import Watermark
from pipeline.alerting.worker.leadership import Leadership
from pipeline.alerting.worker.retrying import Obstacle
from pipeline.domain.metrics import Metrics

log = logging.getLogger(__name__)


class NoDataDetector:
    """Compares the progress, the sources and the obstacles with the time that each may take.

    `reason` is the last result: None while verdicts are possible.
    """

    def __init__(
        self,
        watermark: Watermark,
        sources: SourceMonitor,
        obstacles: Sequence[Obstacle],
        leadership: Leadership,
        after_s: float,
        metrics: Metrics,
        monotonic: Callable[[], float],
    ) -> None:
        """A failure counts once it has lasted for `after_s` seconds."""
        self._watermark, self._sources, self._obstacles = watermark, sources, obstacles
        self._leadership, self._after_s = leadership, after_s
        self._metrics, self._monotonic = metrics, monotonic
        self.reason: str | None = None

    def check(self) -> None:
        """Updates `reason` and the metric, and logs when data stops."""
        reason = self._find()
        if reason and not self.reason:
            log.error("no data: %s (run 'opinionwatch status' to see what the alert role waits for)", reason)
        self.reason = reason
        self._metrics.no_data.set(bool(reason))

    def clear(self) -> None:
        """Withdraws the reason, because another process evaluates now."""
        self.reason = None
        for obstacle in self._obstacles:
            obstacle.gone()
        self._metrics.no_data.set(0)
        self._metrics.source_outage.clear()

    def _find(self) -> str | None:
        now_s, after_s, watermark = self._monotonic(), self._after_s, self._watermark
        for obstacle in self._obstacles:
            if reason := obstacle.lasts(now_s, after_s):
                return reason
        if not self._leadership.taken_over:
            return None
        if now_s - self._leadership.since_s > after_s:
            if blocked := watermark.stuck(now_s, after_s, open_transaction=True):
                return f"an uncommitted transaction holds back the records of {', '.join(blocked[:5])}"
            if stuck := watermark.stuck(now_s, after_s):
                return f"posts wait in Kafka, but the index does not move: {', '.join(stuck[:5])}"
            if missing := sorted([*watermark.unreported(now_s, after_s), *watermark.never_reported()]):
                return f"no classify worker reports progress of {', '.join(missing[:5])}"
        return self._sources.no_data()
