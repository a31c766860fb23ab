"""One answer for all pages: computed once at a time, and cached for longer the longer that took."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
#: An answer is cached for this many times its computing time, so that computing takes at most a tenth of the time.
_TIMES = 10


class Shared(Generic[T]):
    """Runs `find` in a thread, never twice at once, and caches its answer for `least_s` seconds or more.

    An error of `find` reaches all callers that wait for it, and is not cached.
    """

    def __init__(self, find: Callable[[], T], least_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._find, self._least_s, self._clock = find, least_s, clock
        self._finding: asyncio.Task[T] | None = None
        self._until = float("-inf")

    async def get(self) -> T:
        if self._finding is None or (self._finding.done() and self._clock() >= self._until):
            self._finding = asyncio.create_task(self._found())
        # A page that closes must not cancel the answer for the others.
        return await asyncio.shield(self._finding)

    async def _found(self) -> T:
        started = self._clock()
        answer = await asyncio.to_thread(self._find)
        ended = self._clock()
        self._until = ended + max(self._least_s, _TIMES * (ended - started))
        return answer
