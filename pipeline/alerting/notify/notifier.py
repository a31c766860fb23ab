"""Notifies people of alerts: one queue per channel beside the evaluation, each at its own pace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from pipeline.alerting.alerts.evidence import EvidenceReader
from pipeline.alerting.evaluation.overrides import KeyOverride
from pipeline.alerting.notify.channel import Channel
from pipeline.alerting.notify.context import QueueContext
from pipeline.alerting.notify.factory import Routed
from pipeline.alerting.notify.outbox import Outbox, Retry
from pipeline.alerting.notify.policy import Maintenance, NotificationPolicy, QuietHours
from pipeline.alerting.notify.queue import ChannelQueue
from pipeline.domain.alert import Alert
from pipeline.domain.metrics import Metrics
from pipeline.settings import AlertSettings
from pipeline.store.protocol import NotificationStore


class Notifier:
    """`retry` runs a blocking call of the store until it succeeds; `holds` says whether this process notifies.

    `reached` gives the event time up to which alerts are evaluated.
    """

    def __init__(
        self,
        *,
        store: NotificationStore,
        evidence: EvidenceReader,
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
        routes = {c.name: c.takes if isinstance(c, Routed) else _every_alert for c in channels}
        self._outbox = Outbox(store, routes, retry, now)
        policy = notification_policy(settings, rules)
        context = QueueContext(self._outbox, policy, self._reread, holds, metrics, settings.group_above, now, monotonic)
        self._queues = [ChannelQueue(bare[name], routes[name], context) for name in bare]

    async def put(self, alerts: Iterable[Alert]) -> None:
        """Queues alerts at every channel that takes them; `send` says when to begin."""
        async with self._outbox.filling:
            for alert in alerts:
                await self._outbox.put(alert)

    def send(self) -> None:
        """Wakes every queue: what was put is due now."""
        for queue in self._queues:
            queue.wake()

    async def resume(self) -> None:
        """Goes on with what the last process left; call it when this process takes over."""
        await self._outbox.resume()
        self.send()

    async def deliver(self) -> None:
        """Runs one round of every queue."""
        await asyncio.gather(*(queue.deliver() for queue in self._queues))

    async def run(self) -> None:
        """Runs every queue until cancelled."""
        await asyncio.gather(*(queue.run() for queue in self._queues))

    def idle(self) -> bool:
        """Whether nothing waits that could be tried now."""
        return all(queue.idle for queue in self._queues)

    async def _reread(self, alert: Alert) -> Alert:
        """The alert with the terms and sources of its posts so far."""
        end = max(alert.updated_at, self._reached() or alert.updated_at)
        return await self._retry(lambda: self._evidence.reread(alert, end))


def notification_policy(settings: AlertSettings, overrides: Sequence[KeyOverride]) -> NotificationPolicy:
    """The policy of the settings."""
    return NotificationPolicy(
        tuple(QuietHours(q.start, q.end, q.zone, tuple(q.days)) for q in settings.quiet_hours),
        tuple(Maintenance(m.start, m.end, tuple(m.keys), m.reason) for m in settings.maintenance),
        tuple(overrides),
        settings.min_authors,
    )


def _every_alert(_: Alert) -> bool:
    return True
