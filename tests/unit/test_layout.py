"""The index of a post is a function of its event time; a layout that would misplace posts is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.store.elasticsearch.templates import POSTS, Layout, first_layout, later, layout_of, start_of, templates

TODAY = date(2026, 11, 28)
PERIODS = st.sampled_from(["hour", "day", "month"])
DATES = st.dates(date(2000, 1, 1), date(2027, 12, 31))
TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001


@pytest.mark.parametrize(("period", "most"), [("hour", 240), ("day", 150), ("month", 40)])
def test_a_feed_that_reaches_back_to_2000_makes_few_indices(period: str, most: int) -> None:
    layout = first_layout(period, TODAY, [])
    days = [datetime(2000, 1, 1, tzinfo=UTC) + timedelta(hours=h) for h in range(0, 24 * 366 * 27, 1)]
    past = [at for at in days if at.date() <= TODAY]
    assert len({layout.index(at) for at in past}) <= most


@given(PERIODS, DATES, TIMES, st.integers(-14, 14))
def test_the_index_depends_on_the_moment_alone_and_begins_before_it(
    period: str, before: date, at: datetime, hours: int
) -> None:
    layout = Layout(period, before)
    index = layout.index(at)
    assert index == layout.index(at.astimezone(timezone(timedelta(hours=hours))))
    start = start_of(index)
    assert start
    assert start <= at < start + timedelta(days=366)
    assert layout_of(templates("standard", 0, layout)[POSTS].meta) == layout


@given(PERIODS, DATES, st.one_of(st.none(), DATES), TIMES)
def test_a_new_date_is_taken_only_where_no_post_changes_its_index(
    period: str, new: date, old: date | None, at: datetime
) -> None:
    before, after = Layout(period, old), Layout(period, new)
    if not after.misplaces(before.index(at), before):
        assert after.index(at) == before.index(at)


@given(PERIODS, st.lists(TIMES, max_size=5))
def test_the_first_layout_leaves_what_an_older_release_wrote_where_it_is(period: str, times: list[datetime]) -> None:
    before = Layout(period)
    indices = [before.index(at) for at in times]
    layout = first_layout(period, TODAY, indices)
    assert [layout.index(at) for at in times] == indices
    assert not any(layout.misplaces(index, before) for index in indices)


@given(PERIODS, DATES, st.lists(TIMES, max_size=5))
def test_setup_moves_the_date_on_and_no_post_changes_its_index(period: str, old: date, times: list[datetime]) -> None:
    before = Layout(period, old)
    indices = [before.index(at) for at in times]
    new = later(before, first_layout(period, TODAY, indices))
    assert new is not None
    assert new >= old
    assert [Layout(period, new).index(at) for at in times] == indices


def test_another_period_misplaces_what_is_there() -> None:
    assert Layout("day", TODAY).misplaces("opinion-posts-2026.12", Layout("month", TODAY))
    assert not Layout("day", TODAY).misplaces("opinion-posts-imported", Layout("month", TODAY))
