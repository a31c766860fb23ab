"""Days (UTC) whose posts have all come, as far as one can tell: their counts may be kept. Pure.

Whoever writes a post of such a day all the same puts a fresh mark on it, after the write. Counts are kept with the mark
that stood before they were read, and hold only while the same mark stands: what was written meanwhile is never missed.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta

DAY = timedelta(days=1)
#: Writers mark a day from `_LATE` after its end on, readers keep it from `_KEPT` on: clocks may differ by the gap.
_LATE = timedelta(days=1)
_KEPT = timedelta(days=2)


def day_start(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def is_closed(day: date, now: datetime) -> bool:
    """Whether the counts of `day` may be kept.

    >>> is_closed(date(2026, 11, 21), datetime(2026, 11, 24, 1, tzinfo=UTC))
    True
    """
    return _over(day, _KEPT, now)


def token_name(day: date) -> str:
    """The store's state that holds the mark of a day."""
    return f"changed-{day.isoformat()}"


def invalidation_tokens(times: Iterable[datetime], now: datetime) -> dict[str, dict[str, str]]:
    """State name -> value for every day in `times` that may have been kept; empty for what comes in time."""
    days = {at.astimezone(UTC).date() for at in times}
    return {token_name(day): {"mark": uuid.uuid4().hex} for day in sorted(days) if _over(day, _LATE, now)}


def _over(day: date, since: timedelta, now: datetime) -> bool:
    return day_start(day) + DAY + since <= now
