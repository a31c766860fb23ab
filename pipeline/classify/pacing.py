"""When the inference stage will be free, by what the batches before took. Pure: the caller tells the time.

A batch that is closed while others wait for inference waits behind them, and what comes meanwhile waits for the batch
after it. Held open until just before its turn, it takes that along: at 80 % load each post waits for one batch less.
"""

from __future__ import annotations

#: Weight of the newest batch in the seconds per record.
_NEWEST = 0.3
#: A batch is closed this much earlier than its preparation takes: an idle inference stage costs more than a short wait.
_LEAD = 1.5


class BacklogEstimator:
    """Seconds throughout; `now` is of any steady clock.

    >>> pace = BacklogEstimator()
    >>> pace.taken(100, now=0.0); pace.prepared(0.1); pace.inferred(100, 1.0, now=1.1)
    >>> pace.slack_s(1.1)
    0.0
    >>> pace.taken(100, now=1.1)
    >>> round(pace.slack_s(1.2), 2)
    0.75
    """

    def __init__(self) -> None:
        self._per_record = self._prepare_s = self._free_at = 0.0
        self._waiting = 0

    def taken(self, records: int, now: float) -> None:
        """A batch has begun its preparation, or waits for it."""
        self._free_at = max(now, self._free_at) + self._per_record * records
        self._waiting += records

    def prepared(self, seconds: float) -> None:
        """A preparation took so long."""
        self._prepare_s = seconds

    def inferred(self, records: int, seconds: float, now: float) -> None:
        """A batch left the inference stage, in which it spent `seconds`."""
        newest = seconds / max(1, records)
        self._per_record = newest if not self._per_record else self._per_record + _NEWEST * (newest - self._per_record)
        self._waiting -= records
        self._free_at = now + self._per_record * self._waiting

    def slack_s(self, now: float) -> float:
        """How long a batch may be held open without keeping the inference stage waiting."""
        return max(0.0, self._free_at - now - _LEAD * self._prepare_s)
