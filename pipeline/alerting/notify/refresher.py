"""Repeats the open alerts to a receiver that forgets them otherwise."""

from __future__ import annotations

import logging

from pipeline.alerting.notify.attempt import reason_of
from pipeline.alerting.notify.channel import StatefulChannel
from pipeline.alerting.notify.context import QueueContext
from pipeline.alerting.notify.deliveries import delivery_of
from pipeline.domain.alert import RESOLVED, Alert

log = logging.getLogger(__name__)


class Refresher:
    """The refreshes of one channel that keeps state."""

    def __init__(self, channel: StatefulChannel, context: QueueContext) -> None:
        self._channel, self._context = channel, context
        self._due_at = 0.0

    @property
    def due_in_s(self) -> float:
        """Seconds until the next refresh."""
        return max(0.0, self._due_at - self._context.monotonic())

    async def refresh(self) -> None:
        """Refreshes if it is time; a failure waits for the next refresh."""
        if self.due_in_s > 0:
            return
        self._due_at = self._context.monotonic() + self._channel.refresh_s
        known = [alert for alert in await self._context.outbox.open() if self._knows(alert)]
        if not known:
            return
        try:
            await self._channel.refresh(known)
        except Exception as error:
            self._context.metrics.notifications.labels(self._channel.name, "retried").inc()
            log.warning("channel %s was not refreshed: %s", self._channel.name, reason_of(self._channel, error))

    def _knows(self, alert: Alert) -> bool:
        return delivery_of(alert, self._channel.name).notified_as not in {"", RESOLVED}
