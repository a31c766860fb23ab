"""Counting at its edges: outages of sources, the table of counts, the watermark, shares for people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from pipeline.alerting.counting.count_cache import packed, unpacked
from pipeline.alerting.counting.shares import key_shares
from pipeline.alerting.counting.source_monitor import SourceMonitor
from pipeline.alerting.counting.source_outage import HOUR_S, history_start, source_outages
from pipeline.alerting.counting.table import CountTable, is_watched, key_name, rank, scope_of
from pipeline.alerting.counting.watermark import Watermark
from pipeline.domain.counting import Cell, NegativeDefinition, Scope
from pipeline.domain.metrics import Metrics
from pipeline.domain.progress import Progress
from pipeline.store.sqlite.store import SqliteStore
from tests.builders import START, scored

END = datetime(2026, 3, 15, 12, tzinfo=UTC)
NOW_H = int(END.timestamp()) // HOUR_S


def every(hours: int, posts: int, until: int, days: int = 10) -> dict[int, int]:
    """So many posts every so many hours, the last of them `until` hours before the end."""
    return {h * HOUR_S: posts for h in range(NOW_H - until, NOW_H - 24 * days, -hours)}


def test_an_outage_is_longer_than_one_and_a_half_times_any_gap_and_twelve_posts_are_missing() -> None:
    def found(counts: dict[int, int], end: datetime = END) -> list[tuple[float, float]]:
        return [((end - s.since) / timedelta(hours=1), s.missing) for s in source_outages({"a": counts}, end)]

    assert found(every(1, 4, until=4)) == [(3.0, 12.0)]
    assert found(every(1, 3, until=4)) == [], "nine posts missing may be chance"
    assert found(every(1, 4, until=4), END + timedelta(minutes=30)) == [(3.5, 14.0)], "part of an hour counts as such"
    assert found(every(1, 30, until=2)) == [], "an hour is no outage"
    assert found(every(1, 30, until=2), END + timedelta(minutes=1)) != []
    gap = every(1, 30, until=5) | {}
    for hour in (50, 51, 52, 53):
        del gap[(NOW_H - hour) * HOUR_S]
    assert found(gap) == [], "four hours after a gap of four"
    longer = {h: n for h, n in gap.items() if h <= (NOW_H - 7) * HOUR_S}
    assert found(longer) == [], "one and a half times the gap to the hour"
    assert found(longer, END + timedelta(minutes=1)) != []


def test_a_source_has_a_habit_after_three_days() -> None:
    counts = every(1, 30, until=6, days=30)
    first = NOW_H - 6 - 72
    assert source_outages({"a": {h: n for h, n in counts.items() if h >= first * HOUR_S}}, END)
    assert not source_outages({"a": {h: n for h, n in counts.items() if h >= (first + 1) * HOUR_S}}, END)
    assert history_start(END) == END - timedelta(days=14)


def test_the_largest_source_comes_first_with_its_share_of_all_posts() -> None:
    hours = {"small": every(1, 10, until=6), "large": every(1, 30, until=6), "alive": every(1, 40, until=1)}
    found = source_outages(hours, END)
    assert [s.source for s in found] == ["large", "small"]
    total = sum(sum(counts.values()) for counts in hours.values())
    assert found[0].share == round(sum(hours["large"].values()) / total, 4)
    later = {**hours["large"], (NOW_H + 1) * HOUR_S: 5}
    assert len(source_outages({"large": later}, END)) == 1, "posts after the end are not there yet"


def cell(at: int, posts: int = 3, negatives: int = 1, topic: str = "t", **more: str) -> Cell:
    return Cell(at * 300, topic, more.get("subject", ""), posts, negatives, more.get("source", ""))


def test_a_table_shifts_with_time_and_is_refilled_from_a_bucket_on() -> None:
    table = CountTable(4)
    table.advance(4 * 300)
    table.refill([cell(0, 1), cell(1, 2), cell(2, 3), cell(3, 4), cell(4, 9), cell(-1, 9)], 0)
    assert table.posts.tolist() == [[1, 2, 3, 4]]
    assert table.negatives.tolist() == [[1, 1, 1, 1]]
    assert table.time_of(4) == datetime.fromtimestamp(1200, UTC)
    assert table.time_of(3) == datetime.fromtimestamp(900, UTC)
    table.advance(4 * 300)
    table.advance(3 * 300)
    assert (table.end, table.posts.tolist()) == (1200, [[1, 2, 3, 4]]), "time does not go back"
    table.advance(5 * 300)
    assert table.posts.tolist() == [[2, 3, 4, 0]]
    table.refill([cell(2, 5), cell(3, 6), cell(4, 7), cell(1, 9)], 3 * 300)
    assert table.posts.tolist() == [[2, 3, 6, 7]], "what lies before the start stays"
    table.advance(9 * 300)
    assert table.posts.tolist() == [[0, 0, 0, 0]]
    table.refill([cell(8, 1), cell(8, 2)], -5 * 300)
    assert table.posts.tolist() == [[0, 0, 0, 3]], "cells of one bucket add up"


def test_a_table_knows_which_keys_share_posts() -> None:
    table = CountTable(1)
    table.advance(300)
    cells = [cell(0), cell(0, subject="Nova"), cell(0, subject="Orbit"), cell(0, topic="u", subject="Nova"),
             cell(0, source="weibo"), cell(0, subject="Nova", source="weibo")]  # fmt: skip
    table.refill(cells, 0)
    names = [key_name(scope) for scope in table.scopes]
    nova = table.row(Scope("", "Nova"))
    assert nova is not None
    assert {names[row] for row in table.related(Scope("", "Nova"))} == {
        "topic:t", "subject:Nova|topic:t", "subject:Nova|topic:u", "source:weibo", "subject:Nova|source:weibo",
    }  # fmt: skip
    assert table.row(Scope("", "nobody")) is None
    assert table.posts[nova, 0] == 6


def test_keys_are_ranked_and_named() -> None:
    singles = [Scope("", "Nova"), Scope("t"), Scope(source="weibo")]
    assert [rank(s) for s in [*singles, Scope("t", "Nova"), Scope("t", source="weibo")]] == [0, 1, 2, 3, 3]
    assert [is_watched(s) for s in [*singles, Scope("t", "Nova"), Scope("", "Nova", "weibo")]] == [True] * 5
    assert not is_watched(Scope("t", source="weibo"))
    assert key_name(Scope("t", "Nova", "weibo")) == "subject:Nova|topic:t|source:weibo"
    assert scope_of("source:weibo") == Scope(source="weibo")
    assert scope_of("topic:t|subject:Nova") is None, "the order is part of the name"
    assert [scope_of(name) for name in ("", "topic:", "topic:t|topic:u")] == [None] * 3


def test_counts_survive_their_packing_in_order() -> None:
    cells = [cell(2, topic="z"), cell(1, topic="z"), cell(5, topic="a", subject="Nova"), cell(5, source="weibo")]
    assert unpacked(*packed(cells)) == sorted(cells, key=lambda c: (c.topic, c.subject, c.source, c.bucket))
    assert unpacked(*packed([])) == []


def test_shares_are_counted_by_steps_that_end_at_the_end(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.sqlite")
    store.setup()
    posts = [(0, "neutral"), (5, "negative"), (55, "negative"), (60, "neutral"), (119, "negative"), (120, "negative")]
    rows = [
        scored(n, minute=minute, text=f"t{n}", sentiment=mood, topic="t", subjects=["Nova"])
        for n, (minute, mood) in enumerate(posts)
    ]
    store.index(rows, START, 1)
    shares = key_shares(store, NegativeDefinition(), START + timedelta(hours=2), timedelta(hours=1), 2)
    assert shares == {"topic:t": ([3, 2], [2, 1]), "subject:Nova": ([3, 2], [2, 1])}


def heard(partition: int, next_offset: int, end: int, minute: float, **more: object) -> Progress:
    at = START + timedelta(minutes=minute)
    return Progress("t", partition, next_offset, end, at, partitions=2, **more)  # type: ignore[arg-type]


def test_the_watermark_is_the_least_of_those_that_move_and_waits_for_those_that_do_not() -> None:
    mark = Watermark(idle_s=10.0, topics=["t"])
    assert mark.at(0.0) is None
    assert mark.never_reported() == ["t"]
    mark.update([heard(0, 5, 5, 30)], 0.0)
    assert (mark.at(0.0), mark.never_reported()) == (None, ["t/1"])
    mark.update([heard(1, 5, 5, 20)], 0.0)
    assert mark.at(0.0) == START + timedelta(minutes=20)
    mark.update([heard(0, 6, 6, 40)], 9.0)
    assert mark.at(9.9) == START + timedelta(minutes=20)
    assert mark.at(10.0) == START + timedelta(minutes=20), "an idle one is to be heard of again"
    mark.update([heard(1, 5, 5, 20)], 10.9)
    assert mark.at(10.9) == START + timedelta(minutes=20), "a second later at the earliest"
    mark.update([heard(1, 5, 5, 20)], 11.0)
    assert mark.at(11.0) == START + timedelta(minutes=40)
    mark.update([heard(1, 6, 9, 25)], 12.0)
    assert mark.at(12.0) == START + timedelta(minutes=40), "it never goes back"
    assert mark.lagging()
    assert mark.records() == 12


def test_partitions_that_are_silent_or_stuck_are_named_after_the_time_given() -> None:
    mark = Watermark(idle_s=10.0)
    mark.update([heard(0, 5, 9, 30), heard(1, 5, 9, 30, open_transaction=True)], 100.0)
    assert mark.idle_for_s(103.0) == 3.0
    assert (mark.unreported(110.0, 10.0), mark.stuck(110.0, 10.0)) == ([], [])
    assert mark.unreported(110.1, 10.0) == ["t/0", "t/1"]
    assert mark.stuck(110.1, 10.0) == ["t/0", "t/1"]
    assert mark.stuck(110.1, 10.0, open_transaction=True) == ["t/1"]
    mark.update([heard(0, 5, 9, 30)], 111.0)
    assert mark.unreported(112.0, 10.0) == ["t/1"]
    assert mark.stuck(112.0, 10.0) == ["t/0", "t/1"], "to be spoken of is not to move"
    assert Watermark(idle_s=10.0).idle_for_s(5.0) == 0.0
    assert not Watermark(idle_s=1.0, topics=["t"]).reads("u")
    assert Watermark(idle_s=1.0).reads("u")


def test_progress_of_a_topic_that_left_the_settings_is_ignored_and_named() -> None:
    mark = Watermark(idle_s=10.0, topics=["t"])
    mark.update([heard(0, 5, 5, 30), heard(1, 5, 5, 30), Progress("old", 0, 1, 9, START)], 0.0)
    assert mark.ignored == {"old"}
    assert not mark.lagging()
    assert np.isclose(mark.idle_for_s(2.0), 2.0)


def test_an_outage_is_measured_logged_once_and_kept_for_people(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, metrics = SqliteStore(tmp_path / "store.sqlite"), Metrics(CollectorRegistry())
    store.setup()
    store.source_hours = lambda *_: given  # type: ignore[method-assign]
    given = {"weibo": every(1, 30, until=1), "reuters": every(1, 30, until=6), "retired": every(1, 30, until=6)}
    clock_s = [0.0]
    monitor = SourceMonitor(store, metrics, ["retired"], 0.4, now=lambda: END, monotonic=lambda: clock_s[0])
    assert (monitor.idle_for_s(7), monitor.no_data()) == (0.0, None)
    monitor.look(END - timedelta(hours=1), 3600.0, 7)
    assert [s.source for s in monitor.outages] == ["reuters"]
    assert sum("has sent nothing since" in r.getMessage() for r in caplog.records) == 1
    labels = {"source": "reuters"}
    name = "opinionwatch_source_outage_missing_posts"
    assert metrics.registry.get_sample_value(name, labels) == monitor.outages[0].missing == 150.0
    assert (monitor.idle_for_s(7), monitor.idle_for_s(8)) == (3600.0, 0.0)
    assert monitor.no_data() is None, "a third of the posts is missing, not four tenths"
    given = {"weibo": every(1, 30, until=6), "reuters": every(1, 30, until=6)}
    clock_s[0] = 59.9
    monitor.look(END, 0.0, 7)
    assert len(monitor.outages) == 1, "it looks once a minute"
    clock_s[0] = 60.0
    monitor.look(END, 0.0, 7)
    assert monitor.no_data() == "nothing comes from weibo, reuters"
    assert sum("has sent nothing since" in r.getMessage() for r in caplog.records) == 2, "reuters was named before"
    given = {"weibo": every(1, 30, until=1), "reuters": every(1, 30, until=1)}
    clock_s[0] = 64.9
    monitor.look(END, 0.0, 8)
    assert monitor.no_data() is not None
    clock_s[0] = 65.0
    monitor.look(END, 0.0, 8)
    assert (monitor.outages, monitor.no_data()) == ([], None), "what comes first is heard of within five seconds"
    assert metrics.registry.get_sample_value(name, labels) is None
