"""A vendor's limit on messages: a message over the limit waits instead of being sent and refused."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

from pipeline.domain.errors import Transient


class RateLimit:
    """At most `limits[seconds]` messages in any window of that many seconds of the monotonic `clock`."""

    def __init__(self, limits: Mapping[float, int], clock: Callable[[], float]) -> None:
        self._limits, self._clock = limits, clock
        self._taken: deque[float] = deque(maxlen=max(limits.values()))

    def acquire(self, name: str) -> None:
        """Counts one message; raises `Transient` with the seconds to wait if the limit is reached."""
        now = self._clock()
        for seconds, limit in self._limits.items():
            recent = [t for t in self._taken if now - t < seconds]
            if len(recent) >= limit:
                wait = seconds - (now - recent[-limit])
                message = f"channel {name}: the limit of {limit} in {seconds:.0f} s is reached"
                raise Transient(message, retry_after_s=max(0.05, wait))
        self._taken.append(now)
