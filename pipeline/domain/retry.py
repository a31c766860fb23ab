"""Retry in place: capped exponential backoff with jitter, until it works or the process is told to stop."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pipeline.domain.errors import Transient

log = logging.getLogger(__name__)
T = TypeVar("T")
#: A cured service is noticed within it; one try in so many seconds and worker hurts no sick one.
CAP_S = 5.0


def delay_s(attempt: int, at_least_s: float, jitter: float) -> float:
    """Seconds before the next try; `attempt` counts from 0, `jitter` in [0, 1) spreads it over [half, whole].

    Never before `at_least_s`: a service that asks for a wait gets all of it, longer than the cap too.

    >>> delay_s(0, 0.5, 0.0), delay_s(3, 0.5, 0.0), delay_s(20, 0.5, 0.0), delay_s(0, 60.0, 0.0)
    (0.5, 2.0, 2.5, 60.0)
    """
    whole: float = max(at_least_s, min(CAP_S, at_least_s * 2 ** min(attempt, 16)))
    return max(at_least_s, whole * (0.5 + jitter / 2))


async def retried(
    call: Callable[[], Awaitable[T]],
    on_retry: Callable[[Transient, int], None],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> T:
    """The result of `call`; `Transient` is retried for ever, anything else passes."""
    attempt, failure = 0, ""
    while True:
        try:
            found = await call()
        except Transient as error:
            on_retry(error, attempt)
            await sleep(delay_s(attempt, error.retry_after_s, random.random()))  # noqa: S311
            attempt, failure = attempt + 1, str(error)
        else:
            if failure:
                log.warning("works again after %d tries: %s", attempt + 1, failure)
            return found
