"""Ledger and watermark: a record counts once, and the clock never passes what is not indexed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from pipeline.alerting.watermark import Watermark
from pipeline.codec import decode
from pipeline.ledger import Ledger
from pipeline.posts import EPOCH, Progress
from pipeline.store.base import Outcome
from tests.builders import START, record

OUTCOMES = st.lists(st.sampled_from(list(Outcome)), min_size=1, max_size=30)


@given(OUTCOMES, st.lists(st.integers(0, 29), max_size=6))
def test_redeliveries_from_any_offset_change_no_count(outcomes: list[Outcome], restarts: list[int]) -> None:
    def play(ledger: Ledger, start: int) -> None:
        for offset in range(start, len(outcomes)):
            item = record(offset)
            post = None if outcomes[offset] is Outcome.REJECTED else decode(item)
            ledger.enter([(item, outcomes[offset], post)])

    ledger = Ledger({})
    play(ledger, 0)
    once = ledger.seen(("opinion.forum", 0), end_offset=40, in_flight=0, partitions=1)
    for restart in restarts:
        ledger = Ledger({("opinion.forum", 0): once})
        play(ledger, min(restart, len(outcomes) - 1))
    again = ledger.seen(("opinion.forum", 0), end_offset=40, in_flight=0, partitions=1)
    assert again == once
    assert once.indexed + once.duplicate + once.dead == len(outcomes) == once.next_offset


def test_a_suspect_time_does_not_carry_the_clock() -> None:
    ledger = Ledger({})
    good, bad = record(0), record(1, published_at="2099-01-01T00:00:00Z")
    for item in (good, bad):
        ledger.enter([(item, Outcome.INDEXED, decode(item))])
    entry = ledger.seen(("opinion.forum", 0), end_offset=2, in_flight=0, partitions=1)
    assert entry.event_time == START


def progress(partition: int, minute: int, *, next_offset: int, end: int) -> Progress:
    return Progress("t", partition, next_offset, end, START + timedelta(minutes=minute))


def test_the_slowest_partition_with_a_lag_holds_the_watermark() -> None:
    mark = Watermark(idle_s=10)
    assert mark.at(0) is None
    mark.update([progress(0, 60, next_offset=9, end=9), progress(1, 5, next_offset=3, end=8)], now_s=0)
    mark.update([progress(0, 60, next_offset=9, end=9)], now_s=102)
    assert mark.at(100) == START + timedelta(minutes=5)
    assert mark.lagging()


def test_an_idle_partition_does_not_hold_it_back_once_it_says_that_it_is_empty() -> None:
    mark = Watermark(idle_s=10)
    mark.update([progress(0, 5, next_offset=3, end=3)], now_s=0)
    mark.update([progress(1, 60, next_offset=9, end=9)], now_s=20)
    assert mark.at(21) is None, "posts of the hour may wait in partition 0, unfetched"
    mark.update([progress(0, 5, next_offset=3, end=3)], now_s=23)
    assert mark.at(23) == START + timedelta(minutes=60)
    mark.update([progress(0, 5, next_offset=3, end=3)], now_s=24)
    assert mark.at(99) == START + timedelta(minutes=60), "it never goes back"


def test_an_idle_partition_that_turns_out_to_hold_posts_holds_the_watermark() -> None:
    mark = Watermark(idle_s=10)
    mark.update([progress(0, 5, next_offset=3, end=3)], now_s=0)
    mark.update([progress(1, 60, next_offset=9, end=9)], now_s=20)
    assert mark.at(21) is None
    mark.update([progress(0, 5, next_offset=3, end=8)], now_s=23)
    assert mark.at(24) == START + timedelta(minutes=5)
    mark.update([progress(0, 58, next_offset=8, end=8), progress(1, 60, next_offset=9, end=9)], now_s=32)
    assert mark.at(30) == START + timedelta(minutes=58)


def test_a_worker_that_fell_silent_vouches_for_nothing() -> None:
    mark = Watermark(idle_s=10)
    mark.update([progress(0, 5, next_offset=3, end=3)], now_s=0, stored=True)
    for now_s in range(20, 400, 20):
        mark.update([progress(1, now_s, next_offset=now_s, end=now_s)], now_s)
        assert mark.at(now_s) is None
    assert mark.silent(400, 300) == ["t/0"]
    assert mark.silent(250, 300) == []


def test_no_verdict_before_every_partition_of_every_topic_was_heard_of() -> None:
    mark = Watermark(idle_s=10, topics=["t", "u"])
    assert mark.unheard() == ["t", "u"]
    mark.update([replace(progress(1, 60, next_offset=9, end=9), partitions=3)], now_s=0)
    assert mark.at(0) is None
    assert mark.unheard() == ["t/0", "t/2", "u"]
    unread = [Progress("t", 0, 0, 0, EPOCH, partitions=3), Progress("u", 0, 0, 0, EPOCH, partitions=1)]
    mark.update([*unread, progress(2, 50, next_offset=2, end=2)], now_s=1)
    assert mark.unheard() == []
    assert mark.at(1) is None, "an unread partition may hold posts of any time until it was idle for a while"
    mark.update(unread, now_s=12)
    mark.update([progress(1, 70, next_offset=10, end=10), progress(2, 65, next_offset=4, end=4)], now_s=12)
    assert mark.at(12) is None
    mark.update(unread, now_s=14)
    assert mark.at(14) == START + timedelta(minutes=65)


ACTIONS = st.tuples(st.sampled_from(["append", "index", "speak"]), st.integers(0, 2), st.integers(0, 20))


@given(st.lists(ACTIONS, min_size=1, max_size=80))
def test_the_watermark_never_passes_a_post_that_waits(steps: list[tuple[str, int, int]]) -> None:
    """Posts are appended in order of time to any partition; its worker says so only when it speaks the next time."""
    mark, minute, now_s = Watermark(idle_s=5, topics=["t"]), 0, 0
    waiting: list[list[int]] = [[], [], []]
    done, reached = [0, 0, 0], [0, 0, 0]

    def speak(p: int) -> None:
        end = done[p] + len(waiting[p])
        mark.update([replace(progress(p, reached[p], next_offset=done[p], end=end), partitions=3)], now_s)

    for action, p, seconds in steps:
        now_s += seconds
        if action == "append":
            minute += 1
            waiting[p].append(minute)
        elif action == "index" and waiting[p]:
            reached[p], done[p], waiting[p] = waiting[p][-1], done[p] + len(waiting[p]), []
            speak(p)
        elif action == "speak":
            speak(p)
        reached_at, least = mark.at(now_s), min((w[0] for w in waiting if w), default=None)
        assert reached_at is None or least is None or reached_at < START + timedelta(minutes=least)


def test_progress_survives_its_json() -> None:
    entry = progress(2, 7, next_offset=1, end=5)
    assert Progress.from_json(entry.to_json()) == entry
