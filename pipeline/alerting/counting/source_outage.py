"""Sources that fell silent beyond their habit. Pure.

A source is taken for silent when the hours since its last post are longer than any gap of its past by `LONGER`, and so
many posts are missing that chance does not explain it: with `EXPECTED` posts expected in that time (the mean of the
same hours of the day in its past), a Poisson stream has none with probability e^-12 = 6e-6, and a stream whose hours
swing twice as much (negative binomial, one third as many independent arrivals) still only one in fifty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

EXPECTED, LONGER = 12.0, 1.5
#: A source with fewer hours of past than this has no habit yet.
LEAST_HOURS = 72
HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class SourceOutage:
    """`missing` posts were expected since `since`; `share` of all posts came from the source in its past."""

    source: str
    since: datetime
    missing: float
    share: float


def silent_sources(hours: Mapping[str, Mapping[int, int]], end: datetime) -> list[SourceOutage]:
    """Those silent at `end`, the largest first; `hours[source][start]` are posts in an hour (seconds since the epoch).

    The hour that `end` lies in counts by the part of it that has passed.
    """
    total = sum(sum(counts.values()) for counts in hours.values())
    found = [s for source, counts in hours.items() if (s := _silence(source, counts, end, max(1, total)))]
    return sorted(found, key=lambda s: -s.share)


def _silence(source: str, counts: Mapping[int, int], end: datetime, total: int) -> SourceOutage | None:
    seen = sorted(h for h, n in counts.items() if n > 0 and h < end.timestamp())
    if not seen:
        return None
    first, last = seen[0] // HOUR_S, seen[-1] // HOUR_S
    if last - first < LEAST_HOURS:
        return None
    quiet_hours = end.timestamp() / HOUR_S - (last + 1)
    past = np.zeros(last - first + 1)
    past[[h // HOUR_S - first for h in seen]] = [counts[h] for h in seen]
    longest = max(np.diff(np.flatnonzero(past)), default=1) - 1
    if quiet_hours <= max(1.0, LONGER * longest):
        return None
    missing = _expected(past, first, last + 1, quiet_hours)
    if missing < EXPECTED:
        return None
    since = datetime.fromtimestamp((last + 1) * HOUR_S, UTC)
    return SourceOutage(source, since, round(missing, 1), round(sum(counts.values()) / total, 4))


def _expected(past: NDArray[np.float64], first: int, begin: int, hours: float) -> float:
    """Posts expected in `hours` from the hour `begin` on, from the mean of the same hours of the day."""
    of_day = (np.arange(len(past)) + first) % 24
    means = np.array([past[of_day == h].mean() if (of_day == h).any() else past.mean() for h in range(24)])
    whole, rest = divmod(hours, 1.0)
    weights = [*[1.0] * int(whole), rest]
    return float(sum(w * means[(begin + i) % 24] for i, w in enumerate(weights)))


def history_start(end: datetime) -> datetime:
    """How far back a habit is read: two weeks."""
    return end - timedelta(days=14)
