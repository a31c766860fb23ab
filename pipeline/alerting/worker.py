"""The alert role's loop: wait for progress, evaluate, record, publish, notify. Knows no Faust.

Order for each event: the alert document with what is still to be told (`pending`), the record in
`opinion.alerts`, each channel, the document with the time it was told, and only then the evaluator's cursor. A
crash in between repeats the message with the same idempotency key at the worst; none is missed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from pipeline.alerting.episodes import Transition
from pipeline.alerting.evaluator import Evaluator
from pipeline.alerting.events import Event
from pipeline.alerting.evidence import Evidence
from pipeline.alerting.explain import alert_document
from pipeline.alerting.keyrules import KeyRule
from pipeline.alerting.notify.base import Channel
from pipeline.alerting.obstacle import Obstacle
from pipeline.alerting.sources import SourceWatch
from pipeline.alerting.teller import Teller
from pipeline.alerting.tiers import CALIBRATION
from pipeline.alerting.watermark import Watermark
from pipeline.errors import Fatal, Transient
from pipeline.metrics import Metrics
from pipeline.posts import Progress
from pipeline.retry import retried
from pipeline.settings import AlertSettings
from pipeline.store.base import Store

log = logging.getLogger(__name__)
T = TypeVar("T")
#: What was held, or what a channel did not take, is tried again so often.
PENDING_EVERY_S = 30.0
CALIBRATE_CHECK_S = 3600.0
#: Between two looks whether a verdict is possible.
WATCH_S = 1.0
#: A record that `opinion.alerts` does not take within it is tried again later.
PUBLISH_S = 10.0

Publish = Callable[[str, Mapping[str, Any]], Awaitable[None]]


class AlertWorker:
    """`holds()` says whether this process has the progress partition: only then does it evaluate.

    There is no verdict before a classify worker spoke of every partition of each of `topics`. No event time after
    `horizon()` (by default `now`) counts as reached.
    """

    def __init__(
        self,
        *,
        store: Store,
        evaluator: Evaluator,
        settings: AlertSettings,
        channels: Sequence[Channel],
        publish: Publish,
        holds: Callable[[], bool],
        metrics: Metrics,
        topics: Sequence[str] = (),
        rules: Sequence[KeyRule] = (),
        horizon: Callable[[], datetime] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store, self._evaluator, self._settings = store, evaluator, settings
        self._publish, self._holds, self._metrics, self._now, self._sleep = publish, holds, metrics, now, sleep
        self._evidence = Evidence(store, settings.counting)
        self._teller = Teller(
            store=store,
            evidence=self._evidence,
            settings=settings,
            channels=channels,
            rules=rules,
            metrics=metrics,
            retry=self._retry,
            now=now,
            sleep=sleep,
        )
        self._watermark = Watermark(settings.idle_s, topics)
        self._horizon = horizon or now
        self._held = False
        self._held_since = 0.0
        self._unpublished: deque[tuple[str, Mapping[str, Any]]] = deque(maxlen=10_000)
        self._retrying, self._publishing = Obstacle(), Obstacle()
        self._pending_at = 0.0
        self._calibrating: asyncio.Task[None] | None = None
        self._calibrate_at = 0.0
        self._sources = SourceWatch(store, metrics, settings.retired_sources, settings.blind_share)
        self.blind: str | None = None

    def on_progress(self, news: Sequence[Progress]) -> None:
        known = set(self._watermark.ignored)
        self._watermark.update([p.bounded(self._horizon()) for p in news], time.monotonic())
        for topic in sorted(self._watermark.ignored - known):
            log.info("progress of topic %s is ignored: it is not in kafka.topics", topic)

    def evaluated_to(self, moment: datetime) -> bool:
        """Whether every bucket that ends at or before `moment` has been evaluated, with nothing left to read."""
        cursor = self._evaluator.cursor
        return cursor is not None and cursor >= moment and not self._watermark.lagging()

    async def run(self) -> None:
        """Until cancelled; raises `Fatal` or a bug's exception."""
        watch = asyncio.create_task(self._watch())
        try:
            while True:
                await self.tick()
                await self._sleep(self._settings.evaluate_every_s)
                self._publishing.waited(self._settings.evaluate_every_s)
        finally:
            watch.cancel()

    async def _watch(self) -> None:
        """Looks for blindness while a tick waits for the store or for Kafka, too."""
        while True:
            await asyncio.sleep(WATCH_S)
            if self._held or self._holds():
                self._note_blindness()

    async def tick(self) -> None:
        """One look: takes over or lets go of the evaluation, then evaluates what can be evaluated."""
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
            await self._tell_pending()
            log.info("this process evaluates alerts from %s on", self._evaluator.cursor or "the first post")
        self._held = holds
        if not holds:
            self._let_go()
            return
        await self._publish_all()
        watermark = self._watermark.at(time.monotonic())
        if watermark is not None:
            now_s, now = time.monotonic(), self._now()
            quiet_s, records = self._watermark.quiet_s(now_s), self._watermark.records()
            await self._retry(lambda: self._sources.look(watermark, quiet_s, records, now, now_s))
        if watermark is not None and not self._sources.blind():
            chunks = self._evaluator.advance(watermark)
            while (events := await self._retry(lambda: next(chunks, None))) is not None:
                await self._handle_all(events)
                # Telling may take long: who evaluates by now knows more.
                if not self._holds() or not await self._retry(self._evaluator.save):
                    log.info("another process evaluates by now: what this one knew is dropped")
                    self._held = False
                    self._let_go()
                    return
            self._note_lag(watermark)
        if time.monotonic() - self._pending_at > PENDING_EVERY_S:
            await self._tell_pending()
        self._note_blindness()
        await self._calibrate_when_due()

    def _let_go(self) -> None:
        """Another process evaluates: this one withdraws what it said of the evaluation."""
        self.blind = None
        self._retrying.gone()
        self._publishing.gone()
        self._metrics.blind.set(0)
        self._metrics.evaluation_lag.set(0)
        for gauge in (
            self._metrics.open_alerts, self._metrics.threshold, self._metrics.false_alerts, self._metrics.silent
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
            await self._retry(lambda: self._store.put_state(CALIBRATION, found.to_json()))
        except Fatal as error:
            log.info("thresholds are not calibrated: %s", error)
        else:
            self._evaluator.calibration = found
            self._show_thresholds()
            log.info("thresholds calibrated: %s", ", ".join(f"{n} {t.fire:.1f}" for n, t in found.tiers.items()))

    def _show_thresholds(self) -> None:
        for name, tier in self._evaluator.calibration.tiers.items() if self._evaluator.calibration else ():
            self._metrics.threshold.labels(name).set(tier.fire)
            self._metrics.false_alerts.labels(name).set(tier.per_key_week)

    async def _handle_all(self, events: Sequence[Event]) -> None:
        """Each by itself, unless many keys open at once in one lane: those are one message."""
        opened: dict[str, set[str]] = defaultdict(set)
        for event in events:
            if event.transition is Transition.OPENED:
                opened[event.episode.lane].add(event.episode.id)
        groups = [ids for ids in opened.values() if len(ids) > self._settings.group_above]
        for event in events:
            await self._handle(event, alone=not any(event.episode.id in ids for ids in groups))
        for ids in groups:
            await self._teller.tell_group(ids)

    async def _handle(self, event: Event, *, alone: bool) -> None:
        episode = event.episode
        old = await self._retry(lambda: self._store.alert(episode.id))
        if old and old["sequence"] >= episode.sequence and not old["pending"]:
            return  # a replay after a restart: this was told
        scope, end = episode.scope, episode.peak.at
        start = datetime.fromtimestamp(end.timestamp() - episode.peak.window_s, UTC)
        evidence = await self._retry(lambda: self._evidence.posts(scope, episode.lane, start, end))
        query = self._evidence.query(scope, episode.lane, start, end)
        model = f"{evidence[0]['model']['name']} {evidence[0]['model']['version']}" if evidence else ""
        document = alert_document(
            episode, evidence, query, model, event.muted, event.threshold, event.tier, event.series, old
        )
        document |= await self._retry(lambda: self._evidence.facts(scope, episode.lane, start, end, evidence))
        due = f"{episode.sequence}-{event.transition.value}"
        document["pending"] = list(dict.fromkeys([*(old["pending"] if old else ()), due]))
        if not await self._teller.put(episode.id, document):
            return
        record = {"transition": event.transition.value, "id": episode.id, **document}
        self._unpublished.append((episode.id, record))
        await self._publish_all()
        if alone:
            await self._teller.tell(episode.id, document)
        await self._count_open()

    async def _publish_all(self) -> None:
        """In order. People are told of an alert whether or not the topic takes its record."""
        while self._unpublished:
            key, record = self._unpublished[0]
            try:
                await asyncio.wait_for(self._publish(key, record), PUBLISH_S)
            except (Transient, Fatal, TimeoutError) as error:
                reason = f"alerts are not published: {error or 'Kafka does not answer'}"
                if not self._publishing.lasts(time.monotonic(), 0):
                    log.error("%s (%d wait; people are told all the same)", reason, len(self._unpublished))
                self._publishing.met(reason, time.monotonic())
                return
            self._unpublished.popleft()
        self._publishing.gone()

    async def _tell_pending(self) -> None:
        self._pending_at = time.monotonic()
        await self._teller.tell_pending(self._evaluator.cursor)
        await self._count_open()

    async def _count_open(self) -> None:
        alerts = await self._retry(lambda: self._store.alerts(open_only=True))
        for severity in ("warning", "critical"):
            self._metrics.open_alerts.labels(severity).set(sum(a["severity"] == severity for a in alerts))

    def _note_lag(self, watermark: datetime) -> None:
        cursor = self._evaluator.cursor
        if cursor is not None:
            self._metrics.evaluation_lag.set(max(0.0, (watermark - cursor).total_seconds()))
        self._metrics.evaluations.inc()

    def _note_blindness(self) -> None:
        blind = self._blindness(time.monotonic(), self._settings.blind_after_s)
        if blind and not self.blind:
            log.error("blind: %s ('opinionwatch status' names what is waited for)", blind)
        self.blind = blind
        self._metrics.blind.set(bool(blind))

    def _blindness(self, now_s: float, after_s: float) -> str | None:
        mark = self._watermark
        if reason := self._retrying.lasts(now_s, after_s) or self._publishing.lasts(now_s, after_s):
            return reason
        if not self._held:
            return None
        if now_s - self._held_since > after_s:
            if mark.lagging() and mark.quiet_s(now_s) > after_s:
                if held := mark.transactions():
                    return f"a transaction that is not committed keeps back what follows in {', '.join(held[:5])}"
                return f"posts wait in Kafka, but the index does not move: {', '.join(mark.behind()[:5])}"
            if silent := sorted([*mark.silent(now_s, after_s), *mark.unheard()]):
                return f"no classify worker speaks of {', '.join(silent[:5])}"
        return self._sources.blind()

    def _note(self, error: Transient, attempt: int) -> None:
        self._metrics.retries.labels("alert").inc()
        self._retrying.met(str(error), time.monotonic())
        if attempt in {0, 3} or attempt % 10 == 0:
            log.warning("alerts: %s (try %d, goes on trying)", error, attempt + 1)

    async def _retry(self, call: Callable[[], T]) -> T:
        found = await retried(lambda: asyncio.to_thread(call), self._note, self._pause)
        self._retrying.gone()
        return found

    async def _pause(self, seconds: float) -> None:
        await self._sleep(seconds)
        self._retrying.waited(seconds)
        if self._held or self._holds():
            self._note_blindness()
