"""The alert role's loop: wait for progress, evaluate, record, publish, notify. Knows no Faust.

Order for each event: the alert document with what is still to be told (`pending`), the record in
`opinion.alerts`, each channel, the document with the time it was told, and only then the evaluator's cursor. A
crash in between repeats the message with the same idempotency key at the worst; none is missed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from pipeline.alerting.decide import Maintenance, Quiet, Tell, decide, operator_state, too_narrow, worth_telling
from pipeline.alerting.episodes import Transition
from pipeline.alerting.evaluator import Evaluator
from pipeline.alerting.events import Event
from pipeline.alerting.evidence import Evidence
from pipeline.alerting.explain import alert_document
from pipeline.alerting.grouping import group_document
from pipeline.alerting.keyrules import KeyRule, rule_of
from pipeline.alerting.notify.base import Channel, Notice
from pipeline.alerting.sources import SourceWatch
from pipeline.alerting.tiers import CALIBRATION
from pipeline.alerting.watermark import Watermark
from pipeline.errors import Fatal, Transient
from pipeline.metrics import Metrics
from pipeline.posts import Progress
from pipeline.retry import delay_s, retried
from pipeline.settings import AlertSettings
from pipeline.store.base import Scope, Store

log = logging.getLogger(__name__)
T = TypeVar("T")
#: A channel that stays down must not keep the evaluation from going on: the alert stays pending, and is tried again
#: every `PENDING_EVERY_S` seconds. Whoever took the message already gets it again then, under the same key.
TRIES = 3
PENDING_EVERY_S = 30.0
CALIBRATE_CHECK_S = 3600.0

Publish = Callable[[str, Mapping[str, Any]], Awaitable[None]]


class AlertWorker:
    """`holds()` says whether this process has the progress partition: only then does it evaluate.

    There is no verdict before a classify worker spoke of every partition of each of `topics`.
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
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store, self._evaluator, self._settings = store, evaluator, settings
        self._evidence, self._rules = Evidence(store, settings.counting), rules
        self._channels, self._publish, self._holds, self._metrics = channels, publish, holds, metrics
        self._now, self._sleep = now, sleep
        self._quiet = [Quiet(q.start, q.end, q.zone, tuple(q.days)) for q in settings.quiet]
        self._maintenance = [Maintenance(m.start, m.end, tuple(m.keys), m.reason) for m in settings.maintenance]
        self._watermark = Watermark(settings.idle_s, topics)
        self._held = False
        self._held_since = 0.0
        self._pending_at = 0.0
        self._calibrating: asyncio.Task[None] | None = None
        self._calibrate_at = 0.0
        self._sources = SourceWatch(store, metrics, settings.retired_sources, settings.blind_share)
        self.blind: str | None = None

    def on_progress(self, news: Sequence[Progress]) -> None:
        self._watermark.update(news, time.monotonic())

    def evaluated_to(self, moment: datetime) -> bool:
        """Whether every bucket that ends at or before `moment` has been evaluated, with nothing left to read."""
        cursor = self._evaluator.cursor
        return cursor is not None and cursor >= moment and not self._watermark.lagging()

    async def run(self) -> None:
        """Until cancelled; raises `Fatal` or a bug's exception."""
        while True:
            await self.tick()
            await self._sleep(self._settings.evaluate_every_s)

    async def tick(self) -> None:
        """One look: takes over or lets go of the evaluation, then evaluates what can be evaluated."""
        holds = self._holds()
        if holds and not self._held:
            await self._retry(self._evaluator.resume)
            self._show_thresholds()
            self._held_since = time.monotonic()
            known = await self._retry(self._store.load_progress)
            records = sum(p.next_offset for p in known.values())
            quiet_s = await self._retry(lambda: self._sources.quiet_s(records, self._now()))
            self._watermark.update(known.values(), self._held_since - quiet_s, stored=True)
            await self._send_pending()
            log.info("this process evaluates alerts from %s on", self._evaluator.cursor or "the first post")
        self._held = holds
        if not holds:
            return
        watermark = self._watermark.at(time.monotonic())
        if watermark is not None:
            now_s, now = time.monotonic(), self._now()
            quiet_s, records = self._watermark.quiet_s(now_s), self._watermark.records()
            await self._retry(lambda: self._sources.look(watermark, quiet_s, records, now, now_s))
        if watermark is not None and not self._sources.blind():
            chunks = self._evaluator.advance(watermark)
            while (events := await self._retry(lambda: next(chunks, None))) is not None:
                await self._handle_all(events)
                await self._retry(self._evaluator.save)
            self._note_lag(watermark)
        if time.monotonic() - self._pending_at > PENDING_EVERY_S:
            await self._send_pending()
        self._note_blindness()
        await self._calibrate_when_due()

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
            await self._tell_group(ids)

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
        if not await self._put(episode.id, document):
            return
        record = {"transition": event.transition.value, "id": episode.id, **document}
        await retried(lambda: self._publish(episode.id, record), self._note, self._sleep)
        if alone:
            await self._tell(episode.id, document)
        await self._count_open()

    async def _tell_group(self, ids: set[str]) -> None:
        found = [a for i in sorted(ids) if (a := await self._retry(lambda i=i: self._store.alert(i)))]  # type: ignore[misc]
        waiting = [a for a in found if a["pending"] and not too_narrow(a, self._min_authors(a["key"]))]
        if not waiting:
            return
        group = group_document(waiting)
        decision = decide("opened", group, {}, self._quiet, self._maintenance, self._now())
        notice = Notice(f"{group['id']}#0-opened", "opened", group)
        if decision.tell is not Tell.SEND or not all([await self._notify(c, notice) for c in self._channels]):
            return  # each is told by itself later, under its own rules
        for alert in waiting:
            alert_id = alert.pop("id")
            await self._note_told(alert_id, alert)

    def _min_authors(self, key: str) -> int:
        return max(self._settings.min_authors, rule_of(self._rules, key).min_authors or 1)

    def _facts_by_now(self, alert: Mapping[str, Any]) -> dict[str, Any]:
        """Others may have joined since the alert opened."""
        scope = Scope(alert["topic"], alert["subject"], alert["source"])
        end = self._evaluator.cursor or datetime.fromisoformat(alert["updated_at"])
        return self._evidence.facts(scope, alert["lane"], datetime.fromisoformat(alert["started_at"]), end)

    async def _send_pending(self) -> None:
        """What a channel did not take when it was due."""
        self._pending_at = time.monotonic()
        for alert in await self._retry(lambda: self._store.alerts(limit=1000)):
            if alert["pending"]:
                if too_narrow(alert, self._min_authors(alert["key"])):
                    alert |= await self._retry(lambda alert=alert: self._facts_by_now(alert))  # type: ignore[misc]
                alert_id = alert.pop("id")
                await self._tell(alert_id, alert)
        await self._count_open()

    async def _tell(self, alert_id: str, document: dict[str, Any]) -> None:
        said = await self._retry(lambda: self._store.state(operator_state(alert_id))) or {}
        for due in worth_telling(document["pending"]):
            key, transition = f"{alert_id}#{due}", due.partition("-")[2]
            authors = self._min_authors(document["key"])
            decision = decide(transition, document, said, self._quiet, self._maintenance, self._now(), authors)
            if decision.tell is Tell.HOLD:
                await self._note_held(alert_id, document, decision.reason)
                return
            if decision.tell is Tell.DROP:
                self._metrics.notifications.labels("all", "dropped").inc()
                log.info("notification %s is not sent: %s", key, decision.reason)
                continue
            sent = [
                await self._notify(c, Notice(key, transition, {"id": alert_id, **document})) for c in self._channels
            ]
            if not all(sent):
                return
        await self._note_told(alert_id, document)

    async def _note_told(self, alert_id: str, document: dict[str, Any]) -> None:
        told = self._now().isoformat()
        document.update(
            pending=[], held="", last_notified_at=told, first_notified_at=document["first_notified_at"] or told
        )
        await self._put(alert_id, document)

    async def _note_held(self, alert_id: str, document: dict[str, Any], reason: str) -> None:
        if document.get("held") != reason:
            document["held"] = reason
            await self._put(alert_id, document)

    async def _put(self, alert_id: str, document: Mapping[str, Any]) -> bool:
        """False where another process, which evaluates by now, has brought the alert further."""
        put = await self._retry(lambda: self._store.put_alert(alert_id, document))
        if not put:
            log.info("alert %s was brought further by another process: what this one knew of it is dropped", alert_id)
        return put

    async def _notify(self, channel: Channel, notice: Notice) -> bool:
        for attempt in range(TRIES):
            try:
                await channel.send(notice)
            except Transient as error:
                self._metrics.notifications.labels(channel.name, "retried").inc()
                log.warning("notification %s: %s", notice.key, error)
                await self._sleep(delay_s(attempt, error.retry_after_s, 0.5))
            except Fatal as error:
                self._metrics.notifications.labels(channel.name, "refused").inc()
                log.error("notification %s: %s", notice.key, error)
                return True
            else:
                self._metrics.notifications.labels(channel.name, "sent").inc()
                return True
        self._metrics.notifications.labels(channel.name, "pending").inc()
        return False

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
            log.error("blind: %s; no verdict until it does", blind)
        self.blind = blind
        self._metrics.blind.set(bool(blind))

    def _blindness(self, now_s: float, after_s: float) -> str | None:
        mark = self._watermark
        if now_s - self._held_since > after_s:
            if mark.lagging() and mark.quiet_s(now_s) > after_s:
                return "posts wait in Kafka, but the index does not move"
            if silent := sorted([*mark.silent(now_s, after_s), *mark.unheard()]):
                return f"no classify worker speaks of {', '.join(silent[:5])}"
        return self._sources.blind()

    def _note(self, error: Transient, attempt: int) -> None:
        self._metrics.retries.labels("alert").inc()
        if attempt in {0, 3} or attempt % 10 == 0:
            log.warning("alerts: %s (try %d, goes on trying)", error, attempt + 1)

    async def _retry(self, call: Callable[[], T]) -> T:
        return await retried(lambda: asyncio.to_thread(call), self._note, self._sleep)
