"""Silent sources: found when they fall silent, not when it is night, slow or new."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.alerting.counting.source_outage import HOUR_S, source_outages

END = datetime(2026, 3, 15, 12, tzinfo=UTC)
NOW_H = int(END.timestamp()) // HOUR_S


def stream(rate: float, seed: int = 1, days: int = 14, *, night: bool = False) -> dict[int, int]:
    """Posts per hour until `END`; by night (0 to 6 o'clock) none."""
    rng = np.random.default_rng(seed)
    hours = range(NOW_H - 24 * days, NOW_H)
    counts = {h * HOUR_S: int(rng.poisson(0 if night and h % 24 < 6 else rate)) for h in hours}
    return {h: n for h, n in counts.items() if n}


def cut(counts: dict[int, int], hours: int) -> dict[int, int]:
    return {h: n for h, n in counts.items() if h < (NOW_H - hours) * HOUR_S}


def names(hours: dict[str, dict[int, int]], end: datetime = END) -> list[str]:
    return [s.source for s in source_outages(hours, end)]


def test_a_source_that_stops_is_found_within_the_hours_its_rate_allows() -> None:
    steady = stream(20)
    assert names({"a": steady, "b": cut(stream(10, 2), 3)}) == ["b"]
    (silence,) = source_outages({"a": steady, "b": cut(stream(10, 2), 3)}, END)
    assert silence.since == END - timedelta(hours=3)
    assert silence.missing == pytest.approx(30, abs=3)
    assert silence.share == pytest.approx(1 / 3, abs=0.03)


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        (cut(stream(0.5), 12), "six posts are missing: that is chance"),
        (cut(stream(30, night=True), 0), "it speaks now"),
        (cut(stream(10, days=2), 5), "two days are no habit"),
        ({}, "it never spoke"),
    ],
)
def test_what_is_no_silence(counts: dict[int, int], why: str) -> None:
    assert names({"a": counts}) == [], why


def test_the_night_of_a_source_that_sleeps_is_its_habit() -> None:
    counts = stream(30, night=True)
    dawn = END.replace(hour=6)
    before = {h: n for h, n in counts.items() if h < dawn.timestamp() - 6 * HOUR_S}
    assert names({"a": before}, dawn) == []
    assert names({"a": before}, END) == ["a"], "at noon it should long have spoken"


@settings(max_examples=50)
@given(st.floats(0.05, 50), st.integers(0, 10_000))
def test_living_streams_are_not_called_silent(rate: float, seed: int) -> None:
    assert names({"a": stream(rate, seed)}) == []
