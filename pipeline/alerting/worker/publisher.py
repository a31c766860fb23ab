"""The records of alerts in `opinion.alerts`, published in order. Knows no Faust."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from models.json_types import JsonObject
from pipeline.alerting.worker.retrying import Obstacle
from pipeline.domain.errors import Fatal, Transient

log = logging.getLogger(__name__)
#: A record that the topic does not take within this time is tried again later.
PUBLISH_S = 10.0
_MAX_WAITING = 10_000

Publish = Callable[[str, JsonObject], Awaitable[None]]


class AlertPublisher:
    """Keeps the records that the topic did not take; the notification of people never waits for them."""

    def __init__(self, publish: Publish, monotonic: Callable[[], float]) -> None:
        self._publish, self._monotonic = publish, monotonic
        self._waiting: deque[tuple[str, JsonObject]] = deque(maxlen=_MAX_WAITING)
        self.obstacle = Obstacle()

    def add(self, alert_id: str, record: JsonObject) -> None:
        """Queues a record; `flush` publishes it."""
        self._waiting.append((alert_id, record))

    async def flush(self) -> None:
        """Publishes the queued records until the topic refuses one or does not answer."""
        while self._waiting:
            alert_id, record = self._waiting[0]
            try:
                await asyncio.wait_for(self._publish(alert_id, record), PUBLISH_S)
            except (Transient, Fatal, TimeoutError) as error:
                self._note(f"alerts are not published: {str(error) or 'Kafka does not answer'}")
                return
            self._waiting.popleft()
        self.obstacle.gone()

    def _note(self, reason: str) -> None:
        now_s = self._monotonic()
        if not self.obstacle.lasts(now_s, 0):
            log.error("%s; %d records wait, and people are still notified", reason, len(self._waiting))
        self.obstacle.met(reason, now_s)
