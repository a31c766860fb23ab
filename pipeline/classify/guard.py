"""The dead-letter limit: a flood of poison stops the worker before it fills the dead-letter topic. Pure."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from pipeline.domain.errors import Fatal

#: Below this share of the records, letters are those of a healthy feed, however many there are.
HEALTHY = 0.01
#: The window slides by this fraction of it.
_STEPS = 60


class DeadLetterGuard:
    """Stops a flood: more than `limit` letters within `window_s` seconds, or where over `share` of the last `WINDOW`
    records are poison.

    A feed with less than `HEALTHY` poison reaches no limit. `clock` is monotonic, in seconds.
    """

    WINDOW = 2000

    def __init__(
        self,
        limit: int,
        share: float,
        window_s: float = 3600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit, self._share, self.window_s, self._clock = limit, share, window_s, clock
        #: When a step of the window began, and its letters and records.
        self._steps: deque[tuple[float, int, int]] = deque()
        self._window_dead = self._window_all = 0
        self._known, self._since_known = 0, 0
        self._known_at: float | None = None

    def wants_to_know(self) -> bool:
        """Whether to ask how many letters all workers have sent, and then call `know`: before the first letter of a
        process, and again after some.
        """
        if self._known_at is None:
            return True
        aged = self._clock() - self._known_at > self.window_s / _STEPS
        return self._since_known > 0 and (aged or self._since_known > self._limit // 100)

    def know(self, letters: int) -> None:
        """`letters`: what all workers, and this one before its restarts, have sent within the last window."""
        self._known, self._since_known, self._known_at = letters, 0, self._clock()

    def admit(self, dead: int, records: int) -> None:
        """Call before the letters of a batch are sent; raises `Fatal`, and then none of them is."""
        if self._window_all >= self.WINDOW:
            self._window_all, self._window_dead = self._window_all // 2, self._window_dead // 2
        self._window_dead, self._window_all = self._window_dead + dead, self._window_all + records
        letters, of = self._slide(dead, records)
        letters = max(letters, self._known + self._since_known + dead)
        flooded = self._window_all >= self.WINDOW // 2 and self._window_dead > self._share * self._window_all
        over = letters > self._limit and self._own_dead > HEALTHY * of
        if dead and (over or flooded):
            raise Fatal(
                f"dead-letter limit reached: {letters} dead letters within {self.window_s:.0f} s, "
                f"{self._window_dead} of the last {self._window_all} records",
                "look at 'opinionwatch dead list', repair the sender, then start again: nothing was skipped "
                "(flow.dead_letter_limit, flow.dead_letter_window_s and flow.dead_letter_share set the limit)",
            )
        self._since_known += dead

    @property
    def _own_dead(self) -> int:
        return sum(step[1] for step in self._steps)

    def _slide(self, dead: int, records: int) -> tuple[int, int]:
        """Letters and records of this process within the window, with these."""
        now = self._clock()
        while self._steps and now - self._steps[0][0] > self.window_s:
            self._steps.popleft()
        if self._steps and now - self._steps[-1][0] < self.window_s / _STEPS:
            began, letters, of = self._steps.pop()
            self._steps.append((began, letters + dead, of + records))
        else:
            self._steps.append((now, dead, records))
        return self._own_dead, sum(step[2] for step in self._steps)
