"""What a loop waits for that tries again for ever. Pure: the clock is an argument."""

from __future__ import annotations


class Obstacle:
    """A failure that is being retried, from the first time it is met until it is gone."""

    def __init__(self) -> None:
        self._reason, self._since_s, self._waited_s = "", 0.0, 0.0

    def met(self, reason: str, now_s: float) -> None:
        """`now_s` is monotonic."""
        if not self._reason:
            self._since_s, self._waited_s = now_s, 0.0
        self._reason = reason

    def waited(self, seconds: float) -> None:
        """A pause between two tries is over."""
        self._waited_s += seconds

    def gone(self) -> None:
        self._reason = ""

    def lasts(self, now_s: float, after_s: float) -> str | None:
        """The reason, where it has stood for over `after_s` seconds."""
        return self._reason if self._reason and max(now_s - self._since_s, self._waited_s) > after_s else None
