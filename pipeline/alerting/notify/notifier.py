"""Who hears of an alert: a queue per channel beside the evaluation, each at its own pace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pipeline.alerting.alerts.evidence import Evidence
from pipeline.alerting.evaluation.overrides import KeyOverride
from pipeline.alerting.notify.channel import Channel
from pipeline.alerting.notify.factory import Routed
from pipeline.alerting.notify.outbox import Outbox, Retry
from pipeline.alerting.notify.policy import Maintenance, NotificationPolicy, QuietHours
from pipeline.alerting.notify.queue import ChannelQueue, Surroundings
from pipeline.domain.counting import Scope
from pipeline.domain.metrics import Metrics
from pipeline.settings import AlertSettings
from pipeline.store.protocol import NotificationStore


class Notifier:
    """`retry` runs a blocking call of the store until it succeeds; `holds` says whether this process notifies.

    `reached` gives the event time evaluated to.
    """

    def __init__(
        self,
        *,
        store: NotificationStore,
        evidence: Evidence,
        settings: AlertSettings,
        channels: Sequence[Channel],
        rules: Sequence[KeyOverride],
        metrics: Metrics,
        retry: Retry,
        holds: Callable[[], bool],
        reached: Callable[[], datetime | None],
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._evidence, self._retry, self._reached = evidence, retry, reached
        bare = {c.name: c.channel if isinstance(c, Routed) else c for c in channels}
        takes = {c.name: c.takes if isinstance(c, Routed) else _everything for c in channels}
        self._outbox = Outbox(store, takes, retry, now)
        policy = NotificationPolicy(
            tuple(QuietHours(q.start, q.end, q.zone, tuple(q.days)) for q in settings.quiet),
            tuple(Maintenance(m.start, m.end, tuple(m.keys), m.reason) for m in settings.maintenance),
            tuple(rules),
            settings.min_authors,
        )
        shared = Surroundings(self._outbox, policy, self._facts, holds, metrics, settings.group_above, now, monotonic)
        self._queues = [ChannelQueue(bare[name], takes[name], shared) for name in bare]

    async def put(self, alerts: Mapping[str, Mapping[str, Any]]) -> None:
        """Queues alert documents, given by their ids, at every channel that takes them; `send` says when to begin."""
        async with self._outbox.filling:
            for alert_id, document in alerts.items():
                await self._outbox.put(alert_id, document)

    def send(self) -> None:
        """What was put is due now."""
        for queue in self._queues:
            queue.wake()

    async def resume(self) -> None:
        """Call when this process takes over: what the one before left is due."""
        await self._outbox.resume()
        self.send()

    async def deliver(self) -> None:
        """One round of every queue."""
        await asyncio.gather(*(queue.deliver() for queue in self._queues))

    async def run(self) -> None:
        """Every queue by itself, until cancelled."""
        await asyncio.gather(*(queue.run() for queue in self._queues))

    def idle(self) -> bool:
        """Whether nothing waits that could be tried now."""
        return all(queue.idle for queue in self._queues)

    async def _facts(self, alert: Mapping[str, Any]) -> dict[str, Any]:
        """Others may have joined since the alert opened."""
        scope = Scope(alert["topic"], alert["subject"], alert["source"])
        start, end = (datetime.fromisoformat(alert[name]) for name in ("started_at", "updated_at"))
        last = max(end, self._reached() or end)
        facts: Awaitable[dict[str, Any]] = self._retry(lambda: self._evidence.facts(scope, alert["lane"], start, last))
        return await facts


def _everything(_: Mapping[str, Any]) -> bool:
    return True
