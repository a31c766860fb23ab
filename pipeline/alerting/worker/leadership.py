"""Leadership: only the process that holds the progress partition evaluates, once it has loaded the saved state."""

from __future__ import annotations

from collections.abc import Callable


class Leadership:
    """`holds()` returns whether this process has the progress partition. Times are monotonic seconds."""

    def __init__(self, holds: Callable[[], bool], monotonic: Callable[[], float]) -> None:
        self.holds, self._monotonic = holds, monotonic
        self.taken_over = False
        self.since_s = 0.0

    @property
    def leads(self) -> bool:
        """Whether this process may evaluate and notify now."""
        return self.taken_over and self.holds()

    @property
    def claims(self) -> bool:
        """Whether this process evaluates or is about to take over."""
        return self.taken_over or self.holds()

    def begin(self) -> None:
        """The take-over begins: from now on this process waits for progress."""
        self.since_s = self._monotonic()

    def take_over(self) -> None:
        """The saved state is loaded."""
        self.taken_over = True

    def let_go(self) -> None:
        """Another process evaluates, or the take-over failed."""
        self.taken_over = False
