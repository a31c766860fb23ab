"""Ledger and watermark: a record counts once, and the clock never passes what is not indexed."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from pipeline.alerting.watermark import Watermark
from pipeline.codec import decode
from pipeline.ledger import Ledger
from pipeline.posts import Progress
from pipeline.store.base import Outcome
from tests.builders import START, record

OUTCOMES = st.lists(st.sampled_from(list(Outcome)), min_size=1, max_size=30)


@given(OUTCOMES, st.lists(st.integers(0, 29), max_size=6))
def test_redeliveries_from_any_offset_change_no_count(outcomes: list[Outcome], restarts: list[int]) -> None:
    def play(ledger: Ledger, start: int) -> None:
        for offset in range(start, len(outcomes)):
            item = record(offset)
            post = None if outcomes[offset] is Outcome.REJECTED else decode(item)
            ledger.enter(item, outcomes[offset], post)

    ledger = Ledger({})
    play(ledger, 0)
    once = ledger.seen(("opinion.forum", 0), end_offset=40, in_flight=0)
    assert once is not None
    for restart in restarts:
        ledger = Ledger({("opinion.forum", 0): once})
        play(ledger, min(restart, len(outcomes) - 1))
    again = ledger.seen(("opinion.forum", 0), end_offset=40, in_flight=0)
    assert again == once
    assert once.indexed + once.duplicate + once.dead == len(outcomes) == once.next_offset


def test_a_suspect_time_does_not_carry_the_clock() -> None:
    ledger = Ledger({})
    good, bad = record(0), record(1, published_at="2099-01-01T00:00:00Z")
    for item in (good, bad):
        ledger.enter(item, Outcome.INDEXED, decode(item))
    entry = ledger.seen(("opinion.forum", 0), end_offset=2, in_flight=0)
    assert entry is not None
    assert entry.event_time == START


def progress(partition: int, minute: int, *, next_offset: int, end: int) -> Progress:
    return Progress("t", partition, next_offset, end, START + timedelta(minutes=minute))


def test_the_slowest_partition_with_a_lag_holds_the_watermark() -> None:
    mark = Watermark(idle_s=10)
    assert mark.at(0) is None
    mark.update([progress(0, 60, next_offset=9, end=9), progress(1, 5, next_offset=3, end=8)], now_s=0)
    assert mark.at(100) == START + timedelta(minutes=5)
    assert mark.lagging()


def test_an_idle_partition_does_not_hold_it_back() -> None:
    mark = Watermark(idle_s=10)
    mark.update([progress(0, 5, next_offset=3, end=3)], now_s=0)
    mark.update([progress(1, 60, next_offset=9, end=9)], now_s=20)
    assert mark.at(21) == START + timedelta(minutes=60)
    mark.update([progress(0, 5, next_offset=3, end=3)], now_s=21)
    assert mark.at(22) == START + timedelta(minutes=60), "a heartbeat is no news, and it never goes back"
    assert mark.at(99) == START + timedelta(minutes=60)


def test_progress_survives_its_json() -> None:
    entry = progress(2, 7, next_offset=1, end=5)
    assert Progress.from_json(entry.to_json()) == entry
