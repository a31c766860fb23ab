"""The metrics of the process that evaluates. Another process takes them over together with the evaluation."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from pipeline.alerting.detection.thresholds import Calibration
from pipeline.alerting.worker.retrying import StoreRetry
from pipeline.domain.metrics import Metrics
from pipeline.store.protocol import AlertStore

COUNT_OPEN_EVERY_S = 30.0


class AlertGauges:
    """Open alerts, thresholds and the lag of the evaluation."""

    def __init__(self, metrics: Metrics, store: AlertStore, retry: StoreRetry, monotonic: Callable[[], float]) -> None:
        self._metrics, self._store, self._retry, self._monotonic = metrics, store, retry, monotonic
        self._counted_at_s = 0.0

    async def count_open_when_due(self) -> None:
        """Counts the open alerts if the last count is older than `COUNT_OPEN_EVERY_S`."""
        if self._monotonic() - self._counted_at_s > COUNT_OPEN_EVERY_S:
            await self.count_open()

    async def count_open(self) -> None:
        """Counts the open alerts in the store."""
        self._counted_at_s = self._monotonic()
        counted = await self._retry(self._store.open_alerts)
        for severity in ("warning", "critical"):
            self._metrics.open_alerts.labels(severity).set(counted[severity])
        self._metrics.unnotified.set(counted["unnotified"])

    def show_thresholds(self, calibration: Calibration | None) -> None:
        """Exports the threshold of each volume tier, and the false alerts that it gave in the calibration."""
        for tier, threshold in calibration.thresholds.items() if calibration else ():
            self._metrics.threshold.labels(tier).set(threshold.fire)
            self._metrics.false_alerts.labels(tier).set(threshold.per_key_week)

    def show_lag(self, complete_to: datetime, evaluated_to: datetime | None) -> None:
        """Exports how far the evaluation lies behind the index."""
        if evaluated_to is not None:
            self._metrics.evaluation_lag.set(max(0.0, (complete_to - evaluated_to).total_seconds()))
        self._metrics.evaluations.inc()

    def clear(self) -> None:
        """Withdraws what this process exported, because another process evaluates now."""
        self._metrics.evaluation_lag.set(0)
        self._metrics.unnotified.set(0)
        for gauge in (self._metrics.open_alerts, self._metrics.threshold, self._metrics.false_alerts):
            gauge.clear()
