"""The dead-letter limit: a rate, kept over restarts, that a healthy feed never reaches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.classify.dead_letter_limit import DeadLetterLimit
from pipeline.domain.errors import Fatal


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("seconds", [0.0, 0.09, 60.0])
def test_a_healthy_feed_never_ends_the_worker(seconds: float) -> None:
    """One record in a thousand, thirty million of them, at any rate."""
    clock = Clock()
    guard = DeadLetterLimit(10_000, 0.5, clock=clock)
    for _ in range(30_000):
        clock.now += seconds
        if guard.needs_total():
            guard.observe_total(30_000)
        guard.admit(1, 1000)


@pytest.mark.parametrize("batch", [1, 7, 512])
def test_forty_restarts_under_nothing_but_poison_bury_no_more_than_the_limit(batch: int) -> None:
    clock, sent = Clock(), 0
    for _ in range(40):
        guard = DeadLetterLimit(10_000, 0.5, clock=clock)
        with pytest.raises(Fatal, match="dead-letter limit"):
            while True:
                clock.now += 0.01
                if guard.needs_total():
                    guard.observe_total(sent)
                guard.admit(batch, batch)
                sent += batch
        clock.now += 10
    assert sent <= 10_000


def test_after_the_window_as_many_again_may_go() -> None:
    clock = Clock()
    guard = DeadLetterLimit(100, 1.0, 3600, clock)
    guard.admit(100, 100)
    with pytest.raises(Fatal):
        guard.admit(1, 1)
    clock.now += 3700
    guard.observe_total(0)
    guard.admit(100, 100)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.floats(0, 900)), max_size=60))
def test_no_window_has_more_letters_than_the_limit(steps: list[tuple[int, int, float]]) -> None:
    """Of a feed that is not healthy, whatever its rhythm; a step of the window is a sixtieth of it."""
    clock, sent = Clock(), list[tuple[float, int]]()
    guard = DeadLetterLimit(100, 1.0, 3600, clock)
    guard.observe_total(0)
    for dead, good, pause in steps:
        clock.now += pause
        try:
            guard.admit(dead, dead + good)
        except Fatal:
            return
        sent.append((clock.now, dead))
        assert sum(n for at, n in sent if clock.now - at < 3540) <= 100
