"""Retries in place: capped exponential backoff with jitter, until the call succeeds or the task is cancelled."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pipeline.domain.errors import Transient

log = logging.getLogger(__name__)
T = TypeVar("T")
#: A worker notices within this time that a service is back, and one attempt in this time does not overload it.
CAP_S = 5.0


def delay_s(attempt: int, at_least_s: float, jitter: float) -> float:
    """Seconds until the next attempt; `attempt` counts from 0, and `jitter` is in [0, 1).

    The delay is never shorter than `at_least_s`, even above the cap: a service that asks for a wait gets it.

    >>> delay_s(0, 0.5, 0.0), delay_s(3, 0.5, 0.0), delay_s(20, 0.5, 0.0), delay_s(0, 60.0, 0.0)
    (0.5, 2.0, 2.5, 60.0)
    """
    whole: float = max(at_least_s, min(CAP_S, at_least_s * 2 ** min(attempt, 16)))
    return max(at_least_s, whole * (0.5 + jitter / 2))


async def retried(
    call: Callable[[], Awaitable[T]],
    on_retry: Callable[[Transient, int], None],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    jitter: Callable[[], float] = random.random,
) -> T:
    """The result of `call`, which is retried for ever on `Transient`; any other exception passes through.

    `jitter` gives random numbers in [0, 1).
    """
    attempt, failure = 0, ""
    while True:
        try:
            found = await call()
        except Transient as error:
            on_retry(error, attempt)
            await sleep(delay_s(attempt, error.retry_after_s, jitter()))
            attempt, failure = attempt + 1, str(error)
        else:
            if failure:
                log.warning("attempt %d succeeded after: %s", attempt + 1, failure)
            return found
