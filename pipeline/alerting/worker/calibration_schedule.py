"""Calibrates the thresholds again when they are old. Meanwhile the evaluation goes on with the old ones."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta

from pipeline.alerting.detection.thresholds import CALIBRATION
from pipeline.alerting.evaluation.evaluator import Evaluator
from pipeline.alerting.worker.gauges import AlertGauges
from pipeline.alerting.worker.retrying import StoreRetry
from pipeline.domain.errors import Fatal
from pipeline.settings import AlertSettings
from pipeline.store.protocol import StateStore

log = logging.getLogger(__name__)
CALIBRATE_CHECK_S = 3600.0


class CalibrationSchedule:
    """At most one calibration runs at a time."""

    def __init__(
        self,
        evaluator: Evaluator,
        store: StateStore,
        settings: AlertSettings,
        retry: StoreRetry,
        gauges: AlertGauges,
        monotonic: Callable[[], float],
    ) -> None:
        self._evaluator, self._store, self._settings = evaluator, store, settings
        self._retry, self._gauges, self._monotonic = retry, gauges, monotonic
        self._running: asyncio.Task[None] | None = None
        self._next_check_s = 0.0

    async def run_when_due(self) -> None:
        """Takes new thresholds from the store, and starts a calibration if the last is too old.

        Raises what the last calibration raised, unless that is `Fatal` or it was cancelled.
        """
        if self._running is not None:
            if not self._running.done():
                return
            if not self._running.cancelled():
                self._running.result()  # a bug ends the worker
            self._running = None
        now_s, cursor, every_days = self._monotonic(), self._evaluator.cursor, self._settings.calibrate_every_days
        if cursor is None or now_s < self._next_check_s:
            return
        self._next_check_s = now_s + CALIBRATE_CHECK_S
        await self._retry(self._evaluator.load_calibration)
        known = self._evaluator.calibration
        self._gauges.show_thresholds(known)
        if every_days and (known is None or cursor - known.at >= timedelta(days=every_days)):
            self._running = asyncio.create_task(self._calibrate())

    async def _calibrate(self) -> None:
        try:
            found = await self._retry(lambda: self._evaluator.calibrate(self._settings.target_false_alerts))
            await self._retry(lambda: self._store.put_state(CALIBRATION, found))
        except Fatal as error:
            log.info("thresholds are not calibrated: %s", error)
        else:
            self._evaluator.calibration = found
            self._gauges.show_thresholds(found)
            shown = ", ".join(f"{tier} {threshold.fire:.1f}" for tier, threshold in found.thresholds.items())
            log.info("thresholds calibrated: %s", shown)
