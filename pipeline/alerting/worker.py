"""The alert role's loop: wait for progress, evaluate, record, publish; beside it the channels notify. Knows no Faust.

Order for each step of the evaluation: the cursor with the episodes and what is found of them, the alert documents with
what each channel has still to be told, the records in `opinion.alerts`. A crash in between goes on from what was
saved, with the same episodes. The channels send what the documents say: a crash repeats a message with the same
idempotency key at the worst; none is missed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from pipeline.alerting.alerts.evidence import EvidenceReader
from pipeline.alerting.alerts.maker import closed_as_orphan, make_alert
from pipeline.alerting.counting.source_monitor import SourceMonitor
from pipeline.alerting.counting.watermark import Watermark
from pipeline.alerting.detection.thresholds import CALIBRATION
from pipeline.alerting.evaluation.evaluator import Evaluator
from pipeline.alerting.evaluation.events import Event
from pipeline.alerting.evaluation.overrides import KeyOverride
from pipeline.alerting.notify.channel import Channel
from pipeline.alerting.notify.notifier import Notifier
from pipeline.alerting.obstacle import Obstacle
from pipeline.domain.alert import Alert
from pipeline.domain.errors import Fatal, Transient
from pipeline.domain.metrics import Metrics
from pipeline.domain.post import EPOCH
from pipeline.domain.progress import Progress
from pipeline.domain.retry import retried
from pipeline.settings import AlertSettings
from pipeline.store.protocol import MonitoringStore

log = logging.getLogger(__name__)
T = TypeVar("T")
COUNT_OPEN_EVERY_S = 30.0
CALIBRATE_CHECK_S = 3600.0
#: Between two looks whether a verdict is possible.
WATCH_S = 1.0
#: A record that `opinion.alerts` does not take within it is tried again later.
PUBLISH_S = 10.0

Publish = Callable[[str, Mapping[str, Any]], Awaitable[None]]


class AlertWorker:
    """`holds()` says whether this process has the progress partition: only then does it evaluate.

    There is no verdict before a classify worker spoke of every partition of each of `topics`, and none on buckets that
    end after `ceiling()`: whoever feeds the topics says so where what comes next lies before what came last. No event
    time after `horizon()` (by default `now`) counts as reached.
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
        rules: Sequence[KeyOverride] = (),
        ceiling: Callable[[], datetime | None] = lambda: None,
        horizon: Callable[[], datetime] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._ceiling, self._handled = ceiling, EPOCH
        self._store, self._evaluator, self._settings = store, evaluator, settings
        self._publish, self._holds, self._metrics, self._now, self._sleep = publish, holds, metrics, now, sleep
        self._evidence = EvidenceReader(store, settings.counting)
        self._notifier = Notifier(
            store=store,
            evidence=self._evidence,
            settings=settings,
            channels=channels,
            rules=rules,
            metrics=metrics,
            retry=self._retry_beside,
            holds=lambda: self._held and self._holds(),
            reached=lambda: self._evaluator.cursor,
            now=now,
            monotonic=monotonic,
        )
        self._watermark = Watermark(settings.idle_s, topics)
        self._horizon = horizon or now
        self._held = False
        self._held_since = 0.0
        self._unpublished: deque[tuple[str, Mapping[str, Any]]] = deque(maxlen=10_000)
        self._retrying, self._publishing = Obstacle(), Obstacle()
        self._counted_at = 0.0
        self._orphans_closed = False
        self._calibrating: asyncio.Task[None] | None = None
        self._calibrate_at = 0.0
        self._sources = SourceMonitor(store, metrics, settings.retired_sources, settings.no_data_share)
        self.no_data: str | None = None

    def on_progress(self, news: Sequence[Progress]) -> None:
        known = set(self._watermark.ignored)
        self._watermark.update([p.bounded(self._horizon()) for p in news], time.monotonic())
        for topic in sorted(self._watermark.ignored - known):
            log.info("progress of topic %s is ignored: it is not in kafka.topics", topic)

    def evaluated_to(self, moment: datetime) -> bool:
        """Whether the events of every bucket that ends by `moment` were handled, with nothing left to read or tell."""
        reached = self._handled >= moment and not self._watermark.lagging()
        return reached and not self._evaluator.unrecorded and self._notifier.idle()

    async def run(self) -> None:
        """Until cancelled; raises `Fatal` or a bug's exception. No channel keeps the evaluation waiting."""
        tasks = [asyncio.create_task(each) for each in (self._evaluate(), self._notifier.run(), self._watch())]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _watch(self) -> None:
        """Looks for blindness while the evaluation waits for the store or for Kafka, too."""
        while True:
            await asyncio.sleep(WATCH_S)
            if self._held or self._holds():
                self._note_no_data()

    async def tick(self) -> None:
        """One look, and one round of every channel; `run` does the two side by side."""
        await self._look()
        await self._notifier.deliver()

    async def _evaluate(self) -> None:
        while True:
            await self._look()
            await self._sleep(self._settings.evaluate_every_s)
            self._publishing.waited(self._settings.evaluate_every_s)

    async def _look(self) -> None:
        """Takes over or lets go of the evaluation, then evaluates what can be evaluated."""
        holds = self._holds()
        if holds and not self._held:
            await self._retry(self._evaluator.resume)
            self._show_thresholds()
            self._held_since = time.monotonic()
            stored = (await self._retry(self._store.load_progress)).values()
            known = [p.bounded(self._horizon()) for p in stored if self._watermark.reads(p.topic)]
            if retired := sorted({p.topic for p in stored} - {p.topic for p in known}):
                log.info("topics that left kafka.topics keep no verdict waiting: %s", ", ".join(retired))
            records = sum(p.next_offset for p in known)
            quiet_s = await self._retry(lambda: self._sources.quiet_s(records, self._now()))
            self._watermark.update(known, self._held_since - quiet_s, stored=True)
            self._held, self._orphans_closed = True, False
            if not await self._record(self._evaluator.unrecorded):
                self._held = False
                return
            await self._notifier.resume()
            log.info("this process evaluates alerts from %s on", self._evaluator.cursor or "the first post")
        self._held = holds
        if not holds:
            self._let_go()
            return
        await self._publish_all()
        watermark = self._watermark.at(time.monotonic())
        if watermark is not None and (ceiling := self._ceiling()):
            watermark = min(watermark, ceiling)
        if watermark is not None:
            now_s, now = time.monotonic(), self._now()
            quiet_s, records = self._watermark.quiet_s(now_s), self._watermark.records()
            await self._retry(lambda: self._sources.look(watermark, quiet_s, records, now, now_s))
        if watermark is not None and not self._sources.no_data():
            chunks = self._evaluator.advance(watermark)
            while (events := await self._retry(lambda: next(chunks, None))) is not None:
                # Reading may have taken long: who evaluates by now knows more.
                if not self._holds() or not await self._retry(self._evaluator.save) or not await self._record(events):
                    log.info("another process evaluates by now: what this one knew is dropped")
                    self._held = False
                    self._let_go()
                    return
            self._handled = self._evaluator.cursor or EPOCH
            await self._close_orphans()
            self._note_lag(watermark)
        if time.monotonic() - self._counted_at > COUNT_OPEN_EVERY_S:
            await self._count_open()
        self._note_no_data()
        await self._calibrate_when_due()

    def _let_go(self) -> None:
        """Another process evaluates: this one withdraws what it said of the evaluation."""
        self.no_data = None
        self._retrying.gone()
        self._publishing.gone()
        self._metrics.no_data.set(0)
        self._metrics.evaluation_lag.set(0)
        self._metrics.unnotified.set(0)
        for gauge in (
            self._metrics.open_alerts, self._metrics.threshold, self._metrics.false_alerts, self._metrics.source_outage
        ):  # fmt: skip
            gauge.clear()

    async def _calibrate_when_due(self) -> None:
        """Beside the evaluation, which goes on with the thresholds there are."""
        if self._calibrating is not None:
            if not self._calibrating.done():
                return
            if not self._calibrating.cancelled():
                self._calibrating.result()  # a bug ends the worker
            self._calibrating = None
        now, cursor, every = time.monotonic(), self._evaluator.cursor, self._settings.calibrate_every_days
        if cursor is None or now < self._calibrate_at:
            return
        self._calibrate_at = now + CALIBRATE_CHECK_S
        await self._retry(self._evaluator.load_calibration)
        self._show_thresholds()
        known = self._evaluator.calibration
        if not every:
            return
        if known is None or cursor - known.at >= timedelta(days=every):
            self._calibrating = asyncio.create_task(self._calibrate())

    async def _calibrate(self) -> None:
        try:
            found = await self._retry(lambda: self._evaluator.calibrate(self._settings.target_false_alerts))
            await self._retry(lambda: self._store.put_state(CALIBRATION, found))
        except Fatal as error:
            log.info("thresholds are not calibrated: %s", error)
        else:
            self._evaluator.calibration = found
            self._show_thresholds()
            log.info("thresholds calibrated: %s", ", ".join(f"{n} {t.fire:.1f}" for n, t in found.thresholds.items()))

    def _show_thresholds(self) -> None:
        for name, tier in self._evaluator.calibration.thresholds.items() if self._evaluator.calibration else ():
            self._metrics.threshold.labels(name).set(tier.fire)
            self._metrics.false_alerts.labels(name).set(tier.per_key_week)

    async def _record(self, events: Sequence[Event]) -> bool:
        """Puts saved events into their alerts, wakes the channels, publishes; False where another has taken over."""
        if not events:
            return True
        changed = [(event, await self._alert(event)) for event in events]
        await self._notifier.put({alert.id: alert for _, alert in changed}.values())
        self._notifier.send()
        for event, alert in changed:
            record = {"transition": event.transition.value, "id": alert.id, **alert.to_json()}
            self._unpublished.append((alert.id, record))
        await self._publish_all()
        self._evaluator.unrecorded = []
        await self._count_open()
        return bool(await self._retry(self._evaluator.save))

    async def _alert(self, event: Event) -> Alert:
        episode = event.episode
        before = await self._retry(lambda: self._store.alert(episode.id))
        end = episode.peak.at
        start = datetime.fromtimestamp(end.timestamp() - episode.peak.window_s, UTC)
        evidence = await self._retry(lambda: self._evidence.read(episode.scope, episode.lane, start, end))
        return make_alert(event, evidence, before)

    async def _publish_all(self) -> None:
        """In order. People are notified of an alert whether or not the topic takes its record."""
        while self._unpublished:
            key, record = self._unpublished[0]
            try:
                await asyncio.wait_for(self._publish(key, record), PUBLISH_S)
            except (Transient, Fatal, TimeoutError) as error:
                reason = f"alerts are not published: {error or 'Kafka does not answer'}"
                if not self._publishing.lasts(time.monotonic(), 0):
                    log.error("%s (%d wait; people are notified all the same)", reason, len(self._unpublished))
                self._publishing.met(reason, time.monotonic())
                return
            self._unpublished.popleft()
        self._publishing.gone()

    async def _close_orphans(self) -> None:
        """Once after a take-over: an open alert whose episode nobody follows would stay open for ever."""
        cursor = self._evaluator.cursor
        if self._orphans_closed or cursor is None:
            return
        self._orphans_closed = True
        followed = self._evaluator.followed()
        alerts = await self._retry(lambda: list(self._store.unsettled_alerts()))
        for alert in alerts:
            if alert.is_open and alert.id not in followed:
                log.warning("alert %s is closed: no episode goes on with it", alert.id)
                await self._notifier.put([closed_as_orphan(alert, cursor)])
        self._notifier.send()

    async def _count_open(self) -> None:
        self._counted_at = time.monotonic()
        counted = await self._retry(self._store.open_alerts)
        for severity in ("warning", "critical"):
            self._metrics.open_alerts.labels(severity).set(counted[severity])
        self._metrics.unnotified.set(counted["unnotified"])

    def _note_lag(self, watermark: datetime) -> None:
        cursor = self._evaluator.cursor
        if cursor is not None:
            self._metrics.evaluation_lag.set(max(0.0, (watermark - cursor).total_seconds()))
        self._metrics.evaluations.inc()

    def _note_no_data(self) -> None:
        no_data = self._why_no_data(time.monotonic(), self._settings.no_data_after_s)
        if no_data and not self.no_data:
            log.error("no data: %s ('opinionwatch status' names what is waited for)", no_data)
        self.no_data = no_data
        self._metrics.no_data.set(bool(no_data))

    def _why_no_data(self, now_s: float, after_s: float) -> str | None:
        mark = self._watermark
        if reason := self._retrying.lasts(now_s, after_s) or self._publishing.lasts(now_s, after_s):
            return reason
        if not self._held:
            return None
        if now_s - self._held_since > after_s:
            if held := mark.stuck(now_s, after_s, open_transaction=True):
                return f"a transaction that is not committed keeps back what follows in {', '.join(held[:5])}"
            if stuck := mark.stuck(now_s, after_s):
                return f"posts wait in Kafka, but the index does not move: {', '.join(stuck[:5])}"
            if silent := sorted([*mark.silent(now_s, after_s), *mark.unheard()]):
                return f"no classify worker speaks of {', '.join(silent[:5])}"
        return self._sources.no_data()

    def _note(self, error: Transient, attempt: int) -> None:
        self._metrics.retries.labels("alert").inc()
        if attempt in {0, 3} or attempt % 10 == 0:
            log.warning("alerts: %s (try %d, goes on trying)", error, attempt + 1)

    def _note_obstacle(self, error: Transient, attempt: int) -> None:
        self._retrying.met(str(error), time.monotonic())
        self._note(error, attempt)

    async def _retry(self, call: Callable[[], T]) -> T:
        """For the evaluation, which stands still meanwhile."""
        found = await retried(lambda: asyncio.to_thread(call), self._note_obstacle, self._pause)
        self._retrying.gone()
        return found

    async def _retry_beside(self, call: Callable[[], T]) -> T:
        """For the notifier: what it waits for says nothing of the evaluation."""
        return await retried(lambda: asyncio.to_thread(call), self._note, self._sleep)

    async def _pause(self, seconds: float) -> None:
        await self._sleep(seconds)
        self._retrying.waited(seconds)
        if self._held or self._holds():
            self._note_no_data()
