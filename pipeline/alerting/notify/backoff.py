"""How long a channel rests after its receiver did not take a message. Pure but for the clock that is given."""

from __future__ import annotations

from collections.abc import Callable

#: The longest wait before the next attempt, in seconds, unless the receiver asks for more.
MAX_BACKOFF_S = 30.0


class Backoff:
    """Doubles the wait with every failure in a row; `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures = 0
        self._not_before = 0.0

    @property
    def remaining_s(self) -> float:
        """Seconds until the next attempt."""
        return max(0.0, self._not_before - self._clock())

    @property
    def is_resting(self) -> bool:
        return self._clock() < self._not_before

    def failed(self, wait_s: float) -> None:
        """Rests for at least `wait_s`."""
        self._failures += 1
        own_s = min(MAX_BACKOFF_S, 0.5 * 2 ** min(self._failures, 10))
        self._not_before = self._clock() + max(wait_s, own_s)

    def succeeded(self) -> None:
        """The next failure is the first in a row."""
        self._failures = 0
