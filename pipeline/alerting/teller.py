"""Who hears of an alert: asks `decide`, sends, and writes down what came of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pipeline.alerting.decide import Maintenance, Quiet, Tell, decide, operator_state, too_narrow, worth_telling
from pipeline.alerting.evidence import Evidence
from pipeline.alerting.grouping import group_document
from pipeline.alerting.keyrules import KeyRule, least_authors
from pipeline.alerting.notify.base import Channel, Notice
from pipeline.errors import Fatal, Transient
from pipeline.metrics import Metrics
from pipeline.retry import delay_s
from pipeline.settings import AlertSettings
from pipeline.store.base import Scope, Store

log = logging.getLogger(__name__)
#: A channel that stays down must not keep the evaluation from going on: the alert stays pending, and is tried again.
#: Whoever took the message already gets it again then, under the same key.
TRIES = 3

Retry = Callable[[Callable[[], Any]], Awaitable[Any]]


class Teller:
    """`retry` runs a blocking call of the store until it succeeds."""

    def __init__(
        self,
        *,
        store: Store,
        evidence: Evidence,
        settings: AlertSettings,
        channels: Sequence[Channel],
        rules: Sequence[KeyRule],
        metrics: Metrics,
        retry: Retry,
        now: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store, self._evidence, self._channels, self._rules = store, evidence, channels, rules
        self._metrics, self._retry, self._now, self._sleep = metrics, retry, now, sleep
        self._least_authors = settings.min_authors
        self._quiet = [Quiet(q.start, q.end, q.zone, tuple(q.days)) for q in settings.quiet]
        self._maintenance = [Maintenance(m.start, m.end, tuple(m.keys), m.reason) for m in settings.maintenance]

    async def put(self, alert_id: str, document: Mapping[str, Any]) -> bool:
        """False where another process, which evaluates by now, has brought the alert further."""
        put = bool(await self._retry(lambda: self._store.put_alert(alert_id, document)))
        if not put:
            log.info("alert %s was brought further by another process: what this one knew of it is dropped", alert_id)
        return put

    async def tell(self, alert_id: str, document: dict[str, Any]) -> None:
        """All that is pending of an alert, in order, as far as it may be told and the channels take it."""
        said = await self._retry(lambda: self._store.state(operator_state(alert_id))) or {}
        dropped = ""
        for due in worth_telling(document["pending"]):
            key, transition = f"{alert_id}#{due}", due.partition("-")[2]
            authors = self._min_authors(document["key"])
            decision = decide(transition, document, said, self._quiet, self._maintenance, self._now(), authors)
            if decision.tell is Tell.HOLD:
                if document.get("held") != decision.reason:
                    document["held"] = decision.reason
                    await self.put(alert_id, document)
                return
            dropped = decision.reason if decision.tell is Tell.DROP else ""
            if dropped:
                self._metrics.notifications.labels("all", "dropped").inc()
                log.info("notification %s is not sent: %s", key, dropped)
                continue
            notice = Notice(key, transition, {"id": alert_id, **document})
            if not all([await self._notify(channel, notice) for channel in self._channels]):
                return
        await self._note(alert_id, document, dropped)

    async def tell_group(self, ids: Iterable[str]) -> None:
        """Alerts that opened together, in one message; what may not be told so is told by itself later."""
        found = [a for i in sorted(ids) if (a := await self._retry(lambda i=i: self._store.alert(i)))]  # type: ignore[misc]
        waiting = [a for a in found if a["pending"] and not too_narrow(a, self._min_authors(a["key"]))]
        if not waiting:
            return
        group = group_document(waiting)
        decision = decide("opened", group, {}, self._quiet, self._maintenance, self._now())
        notice = Notice(f"{group['id']}#0-opened", "opened", group)
        if decision.tell is not Tell.SEND or not all([await self._notify(c, notice) for c in self._channels]):
            return
        for alert in waiting:
            await self._note(alert.pop("id"), alert, "")

    async def tell_pending(self, reached: datetime | None) -> None:
        """What was held, or what a channel did not take when it was due; `reached` is the event time evaluated to."""
        for alert in await self._retry(lambda: self._store.alerts(limit=1000)):
            if alert["pending"]:
                if too_narrow(alert, self._min_authors(alert["key"])):
                    alert |= await self._retry(lambda alert=alert: self._facts_by(reached, alert))  # type: ignore[misc]
                await self.tell(alert.pop("id"), alert)

    def _min_authors(self, key: str) -> int:
        return least_authors(self._least_authors, self._rules, key)

    def _facts_by(self, reached: datetime | None, alert: Mapping[str, Any]) -> dict[str, Any]:
        """Others may have joined since the alert opened."""
        scope = Scope(alert["topic"], alert["subject"], alert["source"])
        start, end = (datetime.fromisoformat(alert[name]) for name in ("started_at", "updated_at"))
        return self._evidence.facts(scope, alert["lane"], start, max(end, reached or end))

    async def _note(self, alert_id: str, document: dict[str, Any], dropped: str) -> None:
        """`dropped`: why the last of it was not told at all."""
        nobody = "" if self._channels else "there are no channels (alerts.channels)"
        document.update(pending=[], held=nobody or ("" if document["first_notified_at"] else dropped))
        if not dropped:
            told = self._now().isoformat()
            document.update(last_notified_at=told, first_notified_at=document["first_notified_at"] or told)
        await self.put(alert_id, document)

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
