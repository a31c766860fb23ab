"""The alert role: it waits for progress, evaluates, records and publishes, while the channels notify. Knows no Faust.

Each step of the evaluation writes in this order: the cursor with the episodes and the events that it found, the alerts
with what each channel still owes, and the records in `opinion.alerts`. After a crash in between, the next process goes
on from what was saved, with the same episodes. The channels send what the alerts owe: a crash can at worst repeat a
message with the same idempotency key, and never loses one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

from pipeline.alerting.alerts.evidence import EvidenceReader
from pipeline.alerting.clock import SYSTEM_CLOCK, Clock
from pipeline.alerting.counting.source_monitor import SourceMonitor
from pipeline.alerting.counting.watermark import Watermark
from pipeline.alerting.evaluation.evaluator import Evaluator
from pipeline.alerting.evaluation.overrides import KeyOverride
from pipeline.alerting.notify.channel import Channel
from pipeline.alerting.notify.notifier import Notifier
from pipeline.alerting.worker.calibration_schedule import CalibrationSchedule
from pipeline.alerting.worker.completeness import Completeness
from pipeline.alerting.worker.evaluation_step import EvaluationStep
from pipeline.alerting.worker.gauges import AlertGauges
from pipeline.alerting.worker.leadership import Leadership
from pipeline.alerting.worker.no_data import NoDataDetector
from pipeline.alerting.worker.publisher import AlertPublisher, Publish
from pipeline.alerting.worker.recorder import AlertRecorder
from pipeline.alerting.worker.retrying import StoreRetry
from pipeline.domain.metrics import Metrics
from pipeline.domain.progress import Progress
from pipeline.settings import AlertSettings
from pipeline.store.protocol import MonitoringStore

#: Seconds between two checks whether a verdict is possible.
WATCH_S = 1.0


class AlertWorker:
    """Evaluates only while `holds()` says that this process has the progress partition.

    There is no verdict before a classify worker has reported every partition of each of `topics`, and none on buckets
    that end after `ceiling()`: a feeder of the topics limits the verdicts in this way while it may still send older
    posts. No event time after `horizon()` (by default the clock) counts as reached.
    """

    def __init__(
        self,
        *,
        store: MonitoringStore,
        evaluator: Evaluator,
        settings: AlertSettings,
        channels: Sequence[Channel],
        publish: Publish,
        holds: Callable[[], bool],
        metrics: Metrics,
        topics: Sequence[str] = (),
        overrides: Sequence[KeyOverride] = (),
        ceiling: Callable[[], datetime | None] = lambda: None,
        horizon: Callable[[], datetime] | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._clock, self._every_s = clock, settings.evaluate_every_s
        self._leadership = Leadership(holds, clock.monotonic)
        evidence, retry = EvidenceReader(store, settings.counting), StoreRetry(metrics, clock)
        watermark = Watermark(settings.idle_s, topics)
        sources = SourceMonitor(
            store, metrics, settings.retired_sources, settings.no_data_share, clock.now, clock.monotonic
        )
        self._completeness = Completeness(
            watermark, sources, store, retry, ceiling, horizon or clock.now, clock.monotonic
        )
        self._publisher = AlertPublisher(publish, clock.monotonic)
        self._notifier = Notifier(
            store=store,
            evidence=evidence,
            settings=settings,
            channels=channels,
            rules=overrides,
            metrics=metrics,
            retry=StoreRetry(metrics, clock),  # what the notifier waits for does not stop the evaluation
            holds=lambda: self._leadership.leads,
            reached=lambda: evaluator.cursor,
            now=clock.now,
            monotonic=clock.monotonic,
        )
        self._no_data = NoDataDetector(
            watermark,
            sources,
            (retry.obstacle, self._publisher.obstacle),
            self._leadership,
            settings.no_data_after_s,
            metrics,
            clock.monotonic,
        )
        gauges = AlertGauges(metrics, store, retry, clock.monotonic)
        self._step = EvaluationStep(
            evaluator=evaluator,
            leadership=self._leadership,
            completeness=self._completeness,
            recorder=AlertRecorder(store, evidence, self._notifier, self._publisher, retry, settings.min_lift),
            calibration=CalibrationSchedule(evaluator, store, settings, retry, gauges, clock.monotonic),
            gauges=gauges,
            no_data=self._no_data,
            retry=retry,
        )

    @property
    def no_data(self) -> str | None:
        """Why no verdict is possible, if that lasts; None where verdicts are possible."""
        return self._no_data.reason

    @property
    def leads(self) -> bool:
        """Whether this process evaluates."""
        return self._leadership.taken_over

    def on_progress(self, updates: Sequence[Progress]) -> None:
        """Takes the progress that workers reported, in any order."""
        self._completeness.update(updates)

    def evaluated_to(self, moment: datetime) -> bool:
        """Whether every bucket that ends by `moment` is evaluated and its alerts are sent, and no record waits."""
        return self._step.recorded_to(moment) and not self._completeness.lagging() and self._notifier.idle()

    async def run(self) -> None:
        """Runs until cancelled; raises `Fatal` or a bug's exception. No channel keeps the evaluation waiting."""
        tasks = [asyncio.create_task(each) for each in (self._evaluate(), self._notifier.run(), self._watch())]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def tick(self) -> None:
        """One evaluation, then one round of every channel; `run` does the two concurrently."""
        await self._step.run()
        await self._notifier.deliver()

    async def _evaluate(self) -> None:
        while True:
            await self._step.run()
            await self._clock.sleep(self._every_s)
            self._publisher.obstacle.waited(self._every_s)

    async def _watch(self) -> None:
        """Checks for data also while the evaluation waits for the store or for Kafka."""
        while True:
            await self._clock.sleep(WATCH_S)
            if self._leadership.claims:
                self._no_data.check()
