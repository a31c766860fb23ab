"""The dead-letter limit: a flood of poison stops the worker before it fills the dead-letter topic. Pure."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from pipeline.domain.errors import Fatal

#: A feed with a smaller share of poison than this is healthy, however many letters that makes.
HEALTHY_SHARE = 0.01
#: The window slides in steps of this fraction of its length.
_STEPS = 60


class DeadLetterLimit:
    """Stops the worker at more than `limit` letters within `window_s` seconds, or when more than `share` of the last
    `WINDOW` records are poison.

    A feed with less poison than `HEALTHY_SHARE` never reaches the limit. `clock` is monotonic, in seconds.
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
        #: Start of each step of the window, with the letters and records in it.
        self._steps: deque[tuple[float, int, int]] = deque()
        self._recent_dead = self._recent_records = 0
        #: The total over all workers as last observed, the letters sent since, and when it was observed.
        self._total: tuple[int, int, float | None] = (0, 0, None)

    def needs_total(self) -> bool:
        """Whether `observe_total` is due: before the first letter of a process, and again after it has sent some."""
        _, sent_since, observed_at = self._total
        if observed_at is None:
            return True
        aged = self._clock() - observed_at > self.window_s / _STEPS
        return sent_since > 0 and (aged or sent_since > self._limit // 100)

    def observe_total(self, letters: int) -> None:
        """Takes the letters that all workers, and this one before its restarts, sent within the last window."""
        self._total = (letters, 0, self._clock())

    def admit(self, dead: int, records: int) -> None:
        """Call this before the letters of a batch are sent. It raises `Fatal`, and then send none of them."""
        if self._recent_records >= self.WINDOW:
            self._recent_records, self._recent_dead = self._recent_records // 2, self._recent_dead // 2
        self._recent_dead, self._recent_records = self._recent_dead + dead, self._recent_records + records
        own, total_records = self._slide(dead, records)
        total, sent_since, observed_at = self._total
        letters = max(own, total + sent_since + dead)
        flooded = self._recent_records >= self.WINDOW // 2 and self._recent_dead > self._share * self._recent_records
        if dead and (flooded or (letters > self._limit and own > HEALTHY_SHARE * total_records)):
            raise Fatal(
                f"the dead-letter limit is reached: {letters} dead letters within {self.window_s:.0f} s, and "
                f"{self._recent_dead} of the last {self._recent_records} records are poison",
                "run 'opinionwatch dead list', repair the sender, then start the worker again: it has skipped nothing "
                "(flow.dead_letter_limit, flow.dead_letter_window_s and flow.dead_letter_share set the limit)",
            )
        self._total = (total, sent_since + dead, observed_at)

    def _slide(self, dead: int, records: int) -> tuple[int, int]:
        """Adds to the window and returns the letters and records of this process within it."""
        now = self._clock()
        while self._steps and now - self._steps[0][0] > self.window_s:
            self._steps.popleft()
        if self._steps and now - self._steps[-1][0] < self.window_s / _STEPS:
            began, letters, seen = self._steps.pop()
            self._steps.append((began, letters + dead, seen + records))
        else:
            self._steps.append((now, dead, records))
        return sum(step[1] for step in self._steps), sum(step[2] for step in self._steps)
