"""Closed days (UTC): their posts are expected to be complete, so that their counts may be cached. Pure.

A writer that still writes a post of a closed day gives the day a new invalidation token after the write. A reader
caches counts together with the token that it read before the counts, and trusts them only while the day has that
token. So a reader never misses a post that was written while it counted.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta

from pipeline.domain.states import InvalidationToken, StateKey, invalidation_key

DAY = timedelta(days=1)
#: Writers invalidate a day from `_LATE` after its end, readers cache it from `_CLOSED` after its end: the gap is how
#: far their clocks may differ.
_LATE = timedelta(days=1)
_CLOSED = timedelta(days=2)


def utc_now() -> datetime:
    """The wall clock of this machine."""
    return datetime.now(UTC)


def day_start(day: date) -> datetime:
    """Midnight (UTC) at which the day begins."""
    return datetime.combine(day, time(), UTC)


def is_closed(day: date, now: datetime) -> bool:
    """Whether the counts of `day` may be cached.

    >>> is_closed(date(2026, 11, 21), datetime(2026, 11, 24, 1, tzinfo=UTC))
    True
    """
    return _over(day, _CLOSED, now)


def invalidation_tokens(
    times: Iterable[datetime], now: datetime
) -> dict[StateKey[InvalidationToken], InvalidationToken]:
    """A new token for every day in `times` whose counts may be cached; none for posts that come in time."""
    days = {at.astimezone(UTC).date() for at in times}
    return {
        invalidation_key(day): InvalidationToken(uuid.uuid4().hex) for day in sorted(days) if _over(day, _LATE, now)
    }


def _over(day: date, since: timedelta, now: datetime) -> bool:
    return day_start(day) + DAY + since <= now
