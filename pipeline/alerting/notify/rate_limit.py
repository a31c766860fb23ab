"""A vendor's limit on messages: what is over it waits, it is not sent and refused. Pure but for the clock given."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

from pipeline.domain.errors import Transient


class RateLimit:
    """At most `limits[seconds]` takings in any window of so many seconds of `clock`, which never goes back."""

    def __init__(self, limits: Mapping[float, int], clock: Callable[[], float]) -> None:
        self._limits, self._clock = limits, clock
        self._taken: deque[float] = deque(maxlen=max(limits.values()))

    def acquire(self, name: str) -> None:
        """Counts one message; raises `Transient` with the seconds to wait where the limit is reached."""
        now = self._clock()
        for seconds, most in self._limits.items():
            recent = [t for t in self._taken if now - t < seconds]
            if len(recent) >= most:
                wait = seconds - (now - recent[-most])
                raise Transient(f"channel {name}: limit of {most} in {seconds:.0f} s", retry_after_s=max(0.05, wait))
        self._taken.append(now)
