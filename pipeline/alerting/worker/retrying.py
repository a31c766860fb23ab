"""Retries of the store, and the time for which a failure has lasted: one that lasts means that there is no data."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TypeVar

from pipeline.alerting.clock import Clock
from pipeline.domain.errors import Transient
from pipeline.domain.metrics import Metrics
from pipeline.domain.retry import retried

log = logging.getLogger(__name__)
T = TypeVar("T")


class Obstacle:
    """A failure that is retried, from the first time it is met until it is gone. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._reason, self._since_s, self._waited_s = "", 0.0, 0.0

    def met(self, reason: str, now_s: float) -> None:
        """The failure happened, for the first time or again."""
        if not self._reason:
            self._since_s, self._waited_s = now_s, 0.0
        self._reason = reason

    def waited(self, seconds: float) -> None:
        """A pause between two tries is over."""
        self._waited_s += seconds

    def gone(self) -> None:
        """A try succeeded."""
        self._reason = ""

    def lasts(self, now_s: float, after_s: float) -> str | None:
        """The reason, if the failure has lasted for more than `after_s` seconds."""
        return self._reason if self._reason and max(now_s - self._since_s, self._waited_s) > after_s else None


class StoreRetry:
    """Runs a blocking call in a thread, again and again until the store answers."""

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics, self._clock = metrics, clock
        self.obstacle = Obstacle()

    async def __call__(self, call: Callable[[], T], /) -> T:
        """The result of the call; raises everything but `Transient`."""
        found = await retried(lambda: asyncio.to_thread(call), self._note, self._pause)
        self.obstacle.gone()
        return found

    def _note(self, error: Transient, attempt: int) -> None:
        self.obstacle.met(str(error), self._clock.monotonic())
        self._metrics.retries.labels("alert").inc()
        if attempt in {0, 3} or attempt % 10 == 0:
            log.warning("alerts: %s (attempt %d, will retry)", error, attempt + 1)

    async def _pause(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self.obstacle.waited(seconds)
