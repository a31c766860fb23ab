"""Estimates when the inference stage will be free, from how long earlier batches took. Pure: callers pass the time.

If a batch is closed while other batches still wait for inference, it only joins the queue, and records that arrive in
the meantime must wait for the next batch. Keeping it open until just before its turn lets it take those records along:
at 80 % load, each post then waits for one batch less.
"""

from __future__ import annotations

#: Weight of the newest batch in the moving average of seconds per record.
_NEWEST = 0.3
#: A batch is closed this many preparation times early: an idle inference stage costs more than a short wait.
_LEAD = 1.5


class BacklogEstimator:
    """Durations are in seconds; `now` comes from any monotonic clock, in seconds.

    >>> backlog = BacklogEstimator()
    >>> backlog.taken(100, now=0.0); backlog.prepared(0.1); backlog.inferred(100, 1.0, now=1.1)
    >>> backlog.slack_s(1.1)
    0.0
    >>> backlog.taken(100, now=1.1)
    >>> round(backlog.slack_s(1.2), 2)
    0.75
    """

    def __init__(self) -> None:
        self._per_record = self._prepare_s = self._free_at = 0.0
        self._waiting = 0

    def taken(self, records: int, now: float) -> None:
        """Adds a batch that is being prepared or waits for its preparation."""
        self._free_at = max(now, self._free_at) + self._per_record * records
        self._waiting += records

    def prepared(self, seconds: float) -> None:
        """Notes how long the last preparation took."""
        self._prepare_s = seconds

    def inferred(self, records: int, seconds: float, now: float) -> None:
        """Removes a batch that has left the inference stage after `seconds` in it."""
        newest = seconds / max(1, records)
        self._per_record = newest if not self._per_record else self._per_record + _NEWEST * (newest - self._per_record)
        self._waiting -= records
        self._free_at = now + self._per_record * self._waiting

    def slack_s(self, now: float) -> float:
        """Returns how long a batch may stay open without keeping the inference stage waiting."""
        return max(0.0, self._free_at - now - _LEAD * self._prepare_s)
