"""One step of the alert role: take over or let go, evaluate what is complete, record what was found."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

from pipeline.alerting.evaluation.evaluator import Evaluator
from pipeline.alerting.evaluation.events import Event
from pipeline.alerting.worker.calibration_schedule import CalibrationSchedule
from pipeline.alerting.worker.completeness import Completeness
from pipeline.alerting.worker.gauges import AlertGauges
from pipeline.alerting.worker.leadership import Leadership
from pipeline.alerting.worker.no_data import NoDataDetector
from pipeline.alerting.worker.recorder import AlertRecorder
from pipeline.alerting.worker.retrying import StoreRetry
from pipeline.domain.post import EPOCH

log = logging.getLogger(__name__)


class EvaluationStep:
    """Call `run` again and again; it does nothing while another process evaluates."""

    def __init__(
        self,
        *,
        evaluator: Evaluator,
        leadership: Leadership,
        completeness: Completeness,
        recorder: AlertRecorder,
        calibration: CalibrationSchedule,
        gauges: AlertGauges,
        no_data: NoDataDetector,
        retry: StoreRetry,
    ) -> None:
        self._evaluator, self._leadership, self._completeness = evaluator, leadership, completeness
        self._recorder, self._calibration = recorder, calibration
        self._gauges, self._no_data, self._retry = gauges, no_data, retry
        self._recorded_to = EPOCH

    def recorded_to(self, moment: datetime) -> bool:
        """Whether the alerts of every bucket that ends by `moment` are recorded."""
        return self._recorded_to >= moment and not self._evaluator.unrecorded

    async def run(self) -> None:
        """Takes over or lets go of the evaluation, then evaluates what is complete."""
        holds = self._leadership.holds()
        if holds and not self._leadership.taken_over and not await self._take_over():
            return
        if not holds:
            self._let_go()
            return
        await self._recorder.publish_waiting()
        complete_to = await self._completeness.complete_to()
        if complete_to is not None and not await self._evaluate(complete_to):
            return
        await self._gauges.count_open_when_due()
        self._no_data.check()
        await self._calibration.run_when_due()

    async def _take_over(self) -> bool:
        """Goes on from what the last process saved; False where another process has taken over meanwhile."""
        await self._retry(self._evaluator.resume)
        self._gauges.show_thresholds(self._evaluator.calibration)
        self._leadership.begin()
        await self._completeness.restore(self._leadership.since_s)
        self._leadership.take_over()
        if not await self._record(self._evaluator.unrecorded):
            self._leadership.let_go()
            return False
        await self._recorder.resume()
        log.info("this process evaluates alerts from %s on", self._evaluator.cursor or "the first post")
        return True

    def _let_go(self) -> None:
        """Another process evaluates: this one withdraws what it reported of the evaluation."""
        self._leadership.let_go()
        self._no_data.clear()
        self._gauges.clear()

    async def _evaluate(self, complete_to: datetime) -> bool:
        """Evaluates and records, chunk by chunk; False where another process has taken over."""
        chunks = self._evaluator.advance(complete_to)
        while (events := await self._retry(lambda: next(chunks, None))) is not None:
            # Reading may take long, and another process may have evaluated further in the meantime.
            leads = self._leadership.holds() and await self._retry(self._evaluator.save)
            if not leads or not await self._record(events):
                log.info("another process evaluates now; this one drops what it knows")
                self._let_go()
                return False
        self._recorded_to = self._evaluator.cursor or EPOCH
        if self._evaluator.cursor is not None:
            await self._recorder.close_orphans(self._evaluator.followed(), self._evaluator.cursor)
        self._gauges.show_lag(complete_to, self._evaluator.cursor)
        return True

    async def _record(self, events: Sequence[Event]) -> bool:
        """Records events that are saved; False where another process has saved since then."""
        if not events:
            return True
        await self._recorder.record(events)
        self._evaluator.unrecorded = []
        await self._gauges.count_open()
        return await self._retry(self._evaluator.save)
