"""Ledger and watermark: a record counts once, and the clock never passes what is not indexed."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.alerting.counting.watermark import Watermark
from pipeline.classify.codec import decode
from pipeline.domain.ledger import Ledger, current_progress
from pipeline.domain.post import EPOCH, Outcome
from pipeline.domain.progress import Progress
from pipeline.domain.unreadable import skip_unreadable
from tests.builders import START, record

OUTCOMES = st.lists(st.sampled_from(list(Outcome)), min_size=1, max_size=30)


@given(OUTCOMES, st.lists(st.integers(0, 29), max_size=6))
def test_redeliveries_from_any_offset_change_no_count(outcomes: list[Outcome], restarts: list[int]) -> None:
    def play(ledger: Ledger, start: int) -> None:
        for offset in range(start, len(outcomes)):
            item = record(offset)
            post = None if outcomes[offset] is Outcome.REJECTED else decode(item)
            ledger.record([(item, outcomes[offset], post)])

    ledger = Ledger({})
    play(ledger, 0)
    once = ledger.report(("opinion.forum", 0), end_offset=40, in_flight=0, partitions=1)
    for restart in restarts:
        ledger = Ledger({("opinion.forum", 0): once})
        play(ledger, min(restart, len(outcomes) - 1))
    again = ledger.report(("opinion.forum", 0), end_offset=40, in_flight=0, partitions=1)
    assert again == once
    assert once.indexed + once.duplicate + once.dead == len(outcomes) == once.next_offset


def test_a_suspect_time_does_not_carry_the_clock() -> None:
    ledger = Ledger({})
    good, bad = record(0), record(1, published_at="2099-01-01T00:00:00Z")
    for item in (good, bad):
        ledger.record([(item, Outcome.INDEXED, decode(item))])
    entry = ledger.report(("opinion.forum", 0), end_offset=2, in_flight=0, partitions=1)
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
    assert mark.unreported(400, 300) == ["t/0"]
    assert mark.unreported(250, 300) == []


def test_no_verdict_before_every_partition_of_every_topic_was_heard_of() -> None:
    mark = Watermark(idle_s=10, topics=["t", "u"])
    assert mark.never_reported() == ["t", "u"]
    mark.update([replace(progress(1, 60, next_offset=9, end=9), partitions=3)], now_s=0)
    assert mark.at(0) is None
    assert mark.never_reported() == ["t/0", "t/2", "u"]
    unread = [Progress("t", 0, 0, 0, EPOCH, partitions=3), Progress("u", 0, 0, 0, EPOCH, partitions=1)]
    mark.update([*unread, progress(2, 50, next_offset=2, end=2)], now_s=1)
    assert mark.never_reported() == []
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


@pytest.mark.parametrize(
    "change",
    [{"next_offset": "12"}, {"next_offset": None}, {"in_flight": -1}, {"event_time": "2026-03-02"}, {"topic": 7},
     {"end_offset": 2**70}, {"event_time": "yesterday"}, {"partition": True}],
)  # fmt: skip
def test_a_progress_record_that_is_odd_is_named_and_a_field_more_is_passed_over(change: dict[str, Any]) -> None:
    good = progress(2, 7, next_offset=1, end=5)
    assert Progress.from_json({**good.to_json(), "epoch": 3}) == good
    with pytest.raises(ValueError):  # noqa: PT011
        Progress.from_json({**good.to_json(), **change})


def test_what_cannot_be_read_is_passed_over_with_one_line(caplog: pytest.LogCaptureFixture) -> None:
    good = json.dumps(progress(2, 7, next_offset=1, end=5).to_json())
    values = [good, "x", "[]", "null", "[" * 100_000, good]
    clock = iter([0.0, 1.0, 2.0, 61.0])
    with caplog.at_level("WARNING"):
        found = list(
            skip_unreadable("a test", values, lambda v: Progress.from_json(json.loads(v)), lambda: next(clock))
        )
    assert len(found) == 2
    assert len(caplog.records) == 2
    assert "2 more" in caplog.text


PLACE = ("opinion.forum", 0)
ONE, TWO, ELSEWHERE = "cluster/1f", "cluster/2e", "elsewhere/3d"


def play(ledger: Ledger, log: str, offsets: range, end: int) -> Progress:
    for offset in offsets:
        item = record(offset)
        ledger.select_log(PLACE, log, end)
        ledger.record([(item, Outcome.INDEXED, decode(item))])
    ledger.select_log(PLACE, log, end)
    return ledger.report(PLACE, end_offset=end, in_flight=0, partitions=1)


def restarted(rows: dict[str, Progress]) -> Ledger:
    return Ledger(current_progress(rows.values()), rows.values())


@given(st.lists(st.tuples(st.sampled_from([ONE, TWO, ELSEWHERE]), st.integers(1, 20)), min_size=1, max_size=12))
def test_ledger_entries_belong_to_a_log_and_every_record_counts_once(logs: list[tuple[str, int]]) -> None:
    """The topic is created again, or read in another cluster, or in the former one again; the worker starts again."""
    rows: dict[str, Progress] = {}
    length: dict[str, int] = defaultdict(int)
    for moment, (log, more) in enumerate(logs, 1):
        ledger = restarted(rows)
        known = ledger.next_offset(PLACE, log)
        assert (known or 0) == length[log]
        length[log] += more
        row = play(ledger, log, range(length[log]), length[log])
        rows[log] = replace(row, reported_at=START + timedelta(seconds=moment))
        assert (row.next_offset, row.lag, row.log) == (length[log], 0, log)
        assert current_progress(rows.values())[PLACE].log == log
    assert sum(p.indexed for p in rows.values()) == sum(length.values())


def test_a_partition_that_a_worker_gets_later_is_of_the_former_log_all_the_same() -> None:
    """Another worker has recorded the new log in another partition by then."""
    former = [replace(progress(p, 0, next_offset=8000, end=8000), log=ONE) for p in range(2)]
    rows = [*former, replace(progress(0, 1, next_offset=4, end=9), log=TWO, reported_at=START)]
    ledger = Ledger(current_progress(rows), rows)
    assert ledger.next_offset(("t", 1), TWO) is None
    assert ledger.select_log(("t", 1), TWO, 200) == former[1]
    assert ledger.select_log(("t", 0), TWO, 200) is None
    assert Ledger(current_progress(rows), rows).next_offset(("t", 0), "") == 4


def test_entries_of_a_release_that_named_no_log_go_on_and_count_once() -> None:
    old = replace(play(Ledger({}), "", range(30), 30), reported_at=START)
    new = play(restarted({"": old}), ONE, range(25, 40), 40)
    assert (new.log, new.next_offset, new.indexed) == (ONE, 40, 10)
    again = play(restarted({"": old, ONE: replace(new, reported_at=START)}), ONE, range(50), 50)
    assert old.indexed + again.indexed == 50


@pytest.mark.parametrize("log", ["", ONE])
def test_a_log_that_ends_before_its_entry_is_another_one_where_nobody_names_it(log: str) -> None:
    old = replace(play(Ledger({}), "", range(30), 30), reported_at=START)
    new = play(restarted({"": old}), log, range(5), 8)
    assert (new.next_offset, new.indexed, new.lag) == (5, 5, 3)
    assert new.log != old.log


@pytest.mark.parametrize(("unnamed", "named", "reached"), [(30, 20, 30), (20, 30, 30), (30, 30, 30)])
def test_of_entries_with_and_without_the_name_of_a_log_the_one_that_is_further_goes_on(
    unnamed: int, named: int, reached: int
) -> None:
    old = replace(play(Ledger({}), "", range(unnamed), 99), reported_at=START + timedelta(seconds=1))
    own = replace(play(Ledger({}), ONE, range(named), 60), reported_at=START)
    ledger = Ledger({PLACE: old}, [old, own])
    assert ledger.select_log(PLACE, ONE, 99) is None
    entry = ledger.report(PLACE, end_offset=None, in_flight=0, partitions=1)
    assert (entry.log, entry.next_offset, entry.indexed) == (ONE, reached, named)
    assert entry.end_offset == (99 if unnamed > named else 60)
    assert entry.event_time == START + timedelta(minutes=reached - 1)


def test_progress_is_known_by_partition_and_the_newest_log_of_a_topic_counts() -> None:
    rows = [replace(progress(p, 1, next_offset=5, end=9), log=ONE, reported_at=START) for p in range(2)]
    newer = replace(rows[1], log=TWO, next_offset=1, reported_at=START + timedelta(seconds=1))
    assert current_progress(rows) == {("t", 0): rows[0], ("t", 1): rows[1]}
    assert current_progress([newer, *rows]) == {("t", 1): newer}, "the other partition belongs to a former log"
    further = replace(rows[0], next_offset=6)
    assert current_progress([further, rows[0]]) == {("t", 0): further}
    ledger = Ledger({("t", 0): rows[0]})
    assert (ledger.knows(("t", 0)), ledger.knows(("t", 1))) == (True, False)
    assert (ledger.next_offset(("t", 0), ONE), ledger.next_offset(("t", 0), TWO)) == (5, None)
    first = ledger.select_log(("t", 1), TWO, 3)
    assert first is None, "a partition that nobody has read has no former log"


def test_a_report_keeps_the_last_known_end_and_says_how_the_partition_stands() -> None:
    ledger = Ledger({})
    play(ledger, ONE, range(3), 8)
    entry = ledger.report(PLACE, end_offset=None, in_flight=2, partitions=4, open_transaction=True, now=START)
    assert (entry.end_offset, entry.lag, entry.in_flight, entry.partitions) == (8, 5, 2, 4)
    assert (entry.open_transaction, entry.reported_at) == (True, START)
    assert ledger.report(PLACE, end_offset=1, in_flight=0, partitions=4).end_offset == 3, "no end lies before its start"
    assert not ledger.report(PLACE, end_offset=1, in_flight=0, partitions=4).open_transaction
    assert [ledger.report(PLACE, end_offset=9, in_flight=0, partitions=4, skipped=n).skipped for n in (2, 3)] == [2, 5]


def test_the_clock_of_the_progress_is_the_one_that_is_behind() -> None:
    ahead = record(0, published_at=(START + timedelta(minutes=59)).isoformat(), minute=0)
    ledger = Ledger({})
    ledger.record([(ahead, Outcome.INDEXED, decode(ahead))])
    assert ledger.report(PLACE, end_offset=1, in_flight=0, partitions=1).event_time == START
    producer = record(1, minute=600)
    ledger.record([(producer, Outcome.INDEXED, decode(producer))], START + timedelta(minutes=3))
    assert ledger.report(PLACE, end_offset=2, in_flight=0, partitions=1).event_time == START + timedelta(minutes=3)
    crept = replace(progress(0, 59, next_offset=9, end=9), topic="opinion.forum")
    assert Ledger({PLACE: crept}, (), START).report(PLACE, end_offset=9, in_flight=0, partitions=1).event_time == START


def test_positions_count_where_nothing_is_delivered() -> None:
    ledger = Ledger({})
    play(ledger, ONE, range(3), 3)
    entry = ledger.report(PLACE, end_offset=9, in_flight=0, partitions=1, position=9, skipped=2)
    assert (entry.next_offset, entry.lag, entry.indexed, entry.skipped) == (9, 0, 3, 2)


def test_since_when_a_partition_stands_still() -> None:
    ledger, at = Ledger({}), [START + timedelta(minutes=m) for m in range(4)]
    play(ledger, ONE, range(3), 3)

    def seen(end: int, now: datetime) -> datetime:
        return ledger.report(PLACE, end_offset=end, in_flight=0, partitions=1, now=now).advanced_at

    assert seen(3, at[0]) == at[0]
    assert seen(5, at[1]) == seen(5, at[2]) == at[0]
    ledger.record([(record(3), Outcome.INDEXED, decode(record(3)))])
    assert seen(5, at[3]) == at[3]


def test_topics_that_left_the_settings_hold_nothing_back() -> None:
    mark = Watermark(idle_s=10, topics=["t"])
    former = replace(progress(0, 1, next_offset=5, end=12), topic="former")
    mark.update([former, replace(progress(0, 60, next_offset=9, end=9), partitions=1)], 0)
    assert mark.at(1) == START + timedelta(minutes=60)
    assert (mark.lagging(), mark.never_reported(), mark.ignored) == (False, [], {"former"})
    assert mark.unreported(400, 300) == ["t/0"]


def test_a_partition_that_stands_still_is_named_while_others_move() -> None:
    mark = Watermark(idle_s=10, topics=["t"])
    for now_s in range(0, 400, 10):
        moving = replace(progress(0, now_s, next_offset=now_s, end=now_s + 5), partitions=3)
        stuck = [replace(progress(p, 1, next_offset=3, end=9), partitions=3) for p in (1, 2)]
        mark.update([moving, stuck[0], replace(stuck[1], open_transaction=True)], now_s)
    assert mark.at(390) == START + timedelta(minutes=1)
    assert mark.stuck(390, 300) == ["t/1", "t/2"]
    assert mark.stuck(390, 300, open_transaction=True) == ["t/2"]
    assert mark.stuck(390, 395) == []


def test_a_log_that_begins_again_moves_the_watermark_and_may_have_fewer_partitions() -> None:
    mark = Watermark(idle_s=10, topics=["t"])
    old = [replace(progress(p, 60, next_offset=900, end=900), log=ONE, partitions=2) for p in range(2)]
    mark.update(old, 0)
    assert mark.at(0) == START + timedelta(minutes=60)
    late = START + timedelta(seconds=1)
    new = replace(progress(0, 90, next_offset=5, end=9), log=TWO, partitions=1, reported_at=late)
    mark.update([new], 1)
    mark.update(old, 2)
    assert mark.at(3) == START + timedelta(minutes=90), "what the former worker says late changes nothing"
    assert (mark.lagging(), mark.never_reported()) == (True, [])


def test_a_worker_whose_books_went_back_is_believed() -> None:
    """The store was made again, and opinion.progress still has what stood in the former one."""
    mark = Watermark(idle_s=10, topics=["t"])
    mark.update([replace(progress(0, 60, next_offset=900, end=900), partitions=1)], 0)
    mark.update([replace(progress(0, 70, next_offset=20, end=900), partitions=1, reported_at=START)], 400)
    assert mark.unreported(401, 300) == []
    assert mark.lagging()
