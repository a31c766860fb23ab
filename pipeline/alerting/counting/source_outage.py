"""Sources that send nothing for longer than is usual for them. Pure.

A source has an outage when two conditions hold. The hours since its last post are more than `LONGER` times the longest
gap in its past. And chance does not explain the missing posts: with `EXPECTED` posts expected in that time (the mean of
the same hours of the day in its past), a Poisson stream has none with probability e^-12 = 6e-6, and a stream whose
hours vary twice as much (negative binomial, one third as many independent arrivals) still only with probability 1/50.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from models.json_reader import JsonReader
from models.json_types import JsonObject
from pipeline.domain.states import StateKey

EXPECTED, LONGER = 12.0, 1.5
#: The past of a source must cover this many hours before an outage can be recognised.
LEAST_HOURS = 72
HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class SourceOutage:
    """`missing` posts were expected since `since`; the source sent `share` of all posts in its past, in [0, 1]."""

    source: str
    since: datetime
    missing: float
    share: float

    def to_json(self) -> JsonObject:
        """The entry in the state of all outages."""
        return {**asdict(self), "since": self.since.isoformat()}

    @classmethod
    def from_json(cls, value: JsonObject) -> SourceOutage:
        """Ignores fields of a newer release."""
        fields = JsonReader(value)
        return cls(fields.text("source"), fields.time("since"), fields.number("missing"), fields.number("share"))


@dataclass(frozen=True, slots=True)
class SourceOutages:
    """The outages of all sources, and the last time that any partition advanced, with the records read by then."""

    sources: tuple[SourceOutage, ...]
    advanced_at: datetime | None
    records: int

    def to_json(self) -> JsonObject:
        """The state that the console and `status` read."""
        at = self.advanced_at
        return {
            "sources": [outage.to_json() for outage in self.sources],
            "last_news": {"at": at.isoformat(), "records": self.records} if at else None,
        }

    @classmethod
    def from_json(cls, value: JsonObject) -> SourceOutages:
        """Reads a state without `last_news` as well, as old releases wrote it."""
        fields = JsonReader(value)
        last = JsonReader(fields.object("last_news"))
        sources = tuple(SourceOutage.from_json(item) for item in fields.objects("sources"))
        return cls(sources, last.time_or_none("at"), last.whole("records", 0))


#: The name is the one that earlier releases use.
SOURCE_OUTAGES = StateKey("silent_sources", SourceOutages.from_json, SourceOutages.to_json, expendable=True)


def source_outages(hours: Mapping[str, Mapping[int, int]], end: datetime) -> list[SourceOutage]:
    """The outages at `end`, those of the largest sources first.

    `hours[source][start]` are the posts of an hour that begins at `start` (seconds since the epoch). The hour that
    contains `end` counts by the part of it that has passed.
    """
    total = sum(sum(counts.values()) for counts in hours.values())
    found = [s for source, counts in hours.items() if (s := _outage(source, counts, end, max(1, total)))]
    return sorted(found, key=lambda s: -s.share)


def _outage(source: str, counts: Mapping[int, int], end: datetime, total: int) -> SourceOutage | None:
    seen = sorted(h for h, n in counts.items() if n > 0 and h < end.timestamp())
    if not seen:
        return None
    first, last = seen[0] // HOUR_S, seen[-1] // HOUR_S
    if last - first < LEAST_HOURS:
        return None
    idle_hours = end.timestamp() / HOUR_S - (last + 1)
    past = np.zeros(last - first + 1)
    past[[h // HOUR_S - first for h in seen]] = [counts[h] for h in seen]
    longest = max(np.diff(np.flatnonzero(past)), default=1) - 1
    if idle_hours <= max(1.0, LONGER * longest):
        return None
    missing = _expected(past, first, last + 1, idle_hours)
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
    """When the past of the sources begins: two weeks earlier."""
    return end - timedelta(days=14)
