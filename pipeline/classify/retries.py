"""Retries calls to the store and to Kafka in place, and knows what is being retried at the moment."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import TypeVar

from pipeline.domain.errors import Transient
from pipeline.domain.metrics import Metrics
from pipeline.domain.retry import retried

log = logging.getLogger(__name__)
T = TypeVar("T")


class Retries:
    """Repeats a call until it stops raising `Transient`; every other exception passes."""

    def __init__(self, executor: Executor, metrics: Metrics, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._executor, self._metrics, self._sleep = executor, metrics, sleep
        #: The error of each call that is being retried. A call that succeeds, such as the heartbeat's, clears its own.
        self._stalls: dict[object, str] = {}

    @property
    def stalled(self) -> str | None:
        """Why a call is being retried now; None if none is."""
        return next(iter(self._stalls.values()), None)

    async def run(self, stage: str, call: Callable[[], Awaitable[T]]) -> T:
        """Awaits `call()` until it succeeds; `stage` names it in the metrics and in the log."""
        token = object()

        def note(error: Transient, attempt: int) -> None:
            self._metrics.retries.labels(stage).inc()
            self._stalls[token] = str(error)
            if attempt in {0, 3} or attempt % 10 == 0:
                log.warning("retrying: stage=%s attempt=%d error=%s", stage, attempt + 1, error)

        try:
            return await retried(call, note, self._sleep)
        finally:
            self._stalls.pop(token, None)

    async def run_blocking(self, stage: str, call: Callable[[], T]) -> T:
        """The same for a call that blocks: it runs in a thread."""
        return await self.run(stage, lambda: self.in_thread(call))

    async def in_thread(self, call: Callable[[], T]) -> T:
        """Runs a blocking call once, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)
