"""One answer for all pages that ask: found once at a time, and kept as long as finding it was dear."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
#: An answer is kept for so many times as long as it took: finding it never takes more than this share of the time.
_TIMES = 10


class Shared(Generic[T]):
    """`find` runs in a thread, never twice at once; its answer is kept `least_s` seconds, longer where it was slow.

    What `find` raises goes to all who wait for it, and is not kept.
    """

    def __init__(self, find: Callable[[], T], least_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._find, self._least_s, self._clock = find, least_s, clock
        self._finding: asyncio.Task[T] | None = None
        self._until = float("-inf")

    async def get(self) -> T:
        if self._finding is None or (self._finding.done() and self._clock() >= self._until):
            self._finding = asyncio.create_task(self._found())
        # Shielded: a page that is closed must not take the answer from the others.
        return await asyncio.shield(self._finding)

    async def _found(self) -> T:
        started = self._clock()
        answer = await asyncio.to_thread(self._find)
        ended = self._clock()
        self._until = ended + max(self._least_s, _TIMES * (ended - started))
        return answer
