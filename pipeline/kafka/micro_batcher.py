"""Collects chunks of records into micro-batches."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

ChunkT = TypeVar("ChunkT")


class MicroBatcher(Generic[ChunkT]):
    """Closes a batch when it holds `max_records`, when the worker is idle, or after `wait_s` seconds without slack."""

    def __init__(self, max_records: int, wait_s: float) -> None:
        self._max_records, self._wait_s = max_records, wait_s
        self._waiting: deque[tuple[ChunkT, int]] = deque()
        self._arrived = asyncio.Event()

    def add(self, chunk: ChunkT, records: int) -> None:
        """Adds the next chunk in order; it has `records` >= 1 records."""
        self._waiting.append((chunk, records))
        self._arrived.set()

    async def take(self, busy: Callable[[], bool], slack_s: Callable[[], float] = lambda: 0.0) -> list[ChunkT]:
        """Returns the next batch, never empty. A chunk of more records than fit becomes a batch of its own.

        While `busy()`, the batch stays open for `wait_s` seconds, and longer while `slack_s()` is positive. A lone
        record at an idle worker does not wait.
        """
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        first, records = self._waiting.popleft()
        clock = asyncio.get_running_loop().time
        taken, deadline = [first], clock() + self._wait_s
        while True:
            while self._waiting and records + self._waiting[0][1] <= self._max_records:
                chunk, more = self._waiting.popleft()
                taken.append(chunk)
                records += more
            left = max(deadline - clock(), slack_s())
            if self._waiting or records >= self._max_records or left <= 0 or not busy():
                return taken
            self._arrived.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), min(left, self._wait_s))
