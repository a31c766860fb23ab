"""Episodes, overrides and exclusions at their edges."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from pipeline.alerting.counting.overlap import counts_outside, shared_scope
from pipeline.alerting.counting.table import CountTable
from pipeline.alerting.detection.thresholds import Threshold
from pipeline.alerting.evaluation.episodes import Episode, Observation, Policy, Transition, step
from pipeline.alerting.evaluation.events import Event
from pipeline.alerting.evaluation.exclusions import TOUCHED, Exclusions, Period, touched
from pipeline.alerting.evaluation.observations import series_of
from pipeline.alerting.evaluation.overrides import NO_OVERRIDE, KeyOverride, least_authors, override_of
from pipeline.domain.alert_evidence import Series
from pipeline.domain.counting import BUCKET_S, Cell, Scope
from tests.builders import START

POLICY = Policy()


def rows_of(exclusions: Exclusions) -> list[list[str]]:
    """The periods as the state of the evaluator holds them."""
    return [period.to_json() for period in exclusions.periods()]


def seen(minute: float, score: float) -> Observation:
    return Observation(START + timedelta(minutes=minute), score, 100, 60, 20.0, 0.2, 3600, False)


def after(*steps: tuple[float, float]) -> tuple[Episode | None, Transition | None]:
    episode, transition = None, None
    for minute, score in steps:
        episode, transition = step(episode, seen(minute, score), POLICY, key="k", scope=Scope("t"))
    return episode, transition


def test_an_episode_opens_at_the_threshold_and_is_critical_from_its_own_on() -> None:
    assert after((0, 3.999)) == (None, None)
    opened, transition = after((0, 4.0))
    assert opened is not None
    assert (transition, opened.severity, opened.sequence) == (Transition.OPENED, "warning", 0)
    assert (opened.started_at, opened.fired_at) == (START - timedelta(hours=1), START)
    critical, _ = after((0, 6.0))
    assert critical is not None
    assert critical.severity == "critical"
    assert after((0, 4.0), (5, 5.999))[1] is None
    risen, transition = after((0, 4.0), (5, 6.0))
    assert risen is not None
    assert (transition, risen.severity, risen.sequence, risen.peak.score) == (Transition.ESCALATED, "critical", 1, 6.0)
    assert after((0, 4.0), (5, 6.0), (10, 7.0))[1] is None, "it escalates once"


def test_an_episode_ends_after_half_an_hour_below_two() -> None:
    assert after((0, 4.0), (5, 1.999), (34.9, 1.0))[1] is None
    ended, transition = after((0, 4.0), (5, 1.999), (35, 1.0))
    assert ended is not None
    assert (transition, ended.sequence) == (Transition.RESOLVED, 1)
    assert ended.resolved_at == START + timedelta(minutes=35)
    assert after((0, 4.0), (5, 1.0), (20, 2.0), (35, 1.0))[1] is None, "two is not calm, and calm begins again"
    assert ended.peak.score == 4.0


def test_a_reminder_comes_four_hours_after_what_people_heard_last() -> None:
    assert after((0, 4.0), (239, 4.0))[1] is None
    reminded, transition = after((0, 4.0), (240, 3.0))
    assert reminded is not None
    assert (transition, reminded.sequence) == (Transition.REMINDER, 1)
    assert after((0, 4.0), (240, 4.0), (470, 4.0))[1] is None
    assert after((0, 4.0), (240, 4.0), (480, 4.0))[1] is Transition.REMINDER
    assert after((0, 4.0), (100, 6.0), (240, 4.0))[1] is None, "an escalation was heard as well"


def test_another_threshold_moves_that_of_critical_up_and_never_down() -> None:
    assert POLICY.firing_at(5.0) == replace(POLICY, fire=5.0, critical=7.0)
    assert POLICY.firing_at(3.0) == replace(POLICY, fire=3.0, critical=6.0)


def test_the_name_of_an_episode_says_key_time_and_lane() -> None:
    opened, _ = after((0, 4.0))
    assert opened is not None
    assert opened.id == "k@20260302T0000Z"
    assert replace(opened, lane="volume").id == "volume:k@20260302T0000Z"
    written = opened.to_json()
    assert Episode.from_json(written) == opened
    older = {k: v for k, v in written.items() if k != "inhibited_by"} | {"muted_by": "other", "new": 1}
    assert Episode.from_json(older).inhibited_by == "other"


def test_an_override_asks_for_more_before_an_episode_opens() -> None:
    observation = seen(0, 5.0)
    assert NO_OVERRIDE.admits(observation)
    assert not KeyOverride(("k",), watch=False).admits(observation)
    assert KeyOverride(("k",), min_negatives=60).admits(observation)
    assert not KeyOverride(("k",), min_negatives=61).admits(observation)
    assert KeyOverride(("k",), min_lift=3.0).admits(observation)
    assert not KeyOverride(("k",), min_lift=3.1).admits(observation)
    assert NO_OVERRIDE.admits(replace(observation, observed=0))
    nothing = replace(observation, posts=0, observed=0, expected=0.0)
    assert KeyOverride(("k",), min_lift=2.0).admits(nothing)


def test_an_override_sets_severities() -> None:
    assert KeyOverride(("k",), at_most_warning=True).applied(POLICY).critical == float("inf")
    assert KeyOverride(("k",), critical=9.0).applied(POLICY).critical == 9.0
    assert KeyOverride(("k",), critical=3.0).applied(POLICY).critical == 4.0, "never below the threshold"
    assert NO_OVERRIDE.applied(POLICY) is POLICY


def test_the_first_override_that_matches_counts() -> None:
    rules = [KeyOverride(("topic:a*", "subject:*"), min_authors=5), KeyOverride(("*",), min_authors=2)]
    assert override_of(rules, "topic:autos") is rules[0]
    assert override_of(rules, "subject:Nova") is rules[0]
    assert override_of(rules, "topic:Autos") is rules[1], "case matters"
    assert override_of([], "topic:autos") is NO_OVERRIDE
    assert [least_authors(n, rules, "topic:autos") for n in (1, 7)] == [5, 7]
    assert least_authors(1, [KeyOverride(("*",))], "x") == 1


def table(cells: list[Cell]) -> CountTable:
    made = CountTable(4)
    made.advance(4 * BUCKET_S)
    made.refill(cells, 0)
    return made


def test_a_period_is_half_open_and_joins_the_one_that_it_meets() -> None:
    counts = table([Cell(0, "t", "", 1, 1), Cell(0, "u", "", 1, 1)])
    excluded = Exclusions()
    excluded.add(Scope("t"), 300, 600)
    assert [excluded.mask(counts, at).tolist() for at in (299, 300, 599, 600)] == [
        [False, False], [True, False], [True, False], [False, False],
    ]  # fmt: skip
    excluded.add(Scope("t"), 600, 900)
    excluded.add(Scope("t"), 450, 700)
    excluded.add(Scope("t"), 901, 1000)
    excluded.add(Scope("nobody"), 0, 1000)
    times = [[datetime.fromtimestamp(t, UTC).isoformat() for t in period] for period in ((300, 900), (901, 1000))]
    assert rows_of(excluded)[:2] == [["t", "", "", *times[0]], ["t", "", "", *times[1]]]
    assert excluded.mask(counts, 899).tolist() == [True, False]
    assert excluded.mask(counts, 900).tolist() == [False, False]
    again = Exclusions(Period.from_json(row) for row in rows_of(excluded))
    assert rows_of(again) == rows_of(excluded)
    excluded.forget_before(900)
    assert [row[0] for row in rows_of(excluded)] == ["t", "nobody"]
    assert not excluded.mask(counts, 899).any()
    assert excluded.mask(counts, 901).tolist() == [True, False]
    excluded.forget_before(1000)
    assert rows_of(excluded) == []


@pytest.mark.parametrize(("shared", "found"), [(2, ["topic:t"]), (1, [])])
def test_a_key_is_touched_where_a_fifth_of_its_negatives_are_of_the_other(shared: int, found: list[str]) -> None:
    assert TOUCHED == 0.2
    counts = table([
        Cell(0, "t", "", 50, 10), Cell(0, "", "Nova", 20, 9), Cell(0, "t", "Nova", 9, shared), Cell(0, "u", "", 9, 0),
    ])  # fmt: skip
    names = ["topic:" + s.topic for s in touched(counts, Scope("", "Nova"), slice(0, 4)) if s.is_single]
    assert names == found


def test_posts_of_two_keys_are_told_apart_where_both_are_counted() -> None:
    assert shared_scope(Scope("t"), Scope("", "Nova")) == Scope("t", "Nova")
    assert shared_scope(Scope("t"), Scope("u")) is None
    assert shared_scope(Scope("t", "Nova"), Scope("t")) == Scope("t", "Nova")
    counts = table([Cell(0, "t", "", 50, 10), Cell(300, "t", "Nova", 9, 4), Cell(900, "t", "Nova", 1, 1)])
    assert counts_outside(counts, Scope("t"), Scope("", "Nova"), slice(0, 4)) == (40, 5, 0.0)
    assert counts_outside(counts, Scope("t"), Scope("", "Nova"), slice(0, 2)) == (41, 6, 0.0)
    assert counts_outside(counts, Scope("t"), Scope("u"), slice(0, 4)) is None
    assert counts_outside(counts, Scope("t"), Scope("", "Orbit"), slice(0, 4)) is None


def test_the_series_of_an_alert_is_its_last_day_in_half_hours() -> None:
    counts = CountTable(300)
    counts.advance(300 * BUCKET_S)
    counts.refill([Cell(n * BUCKET_S, "t", "", n, n % 2) for n in range(300)], 0)
    series = series_of(counts, Scope("t"), 298)
    assert (series.end, series.step_s, len(series.posts)) == (298 * BUCKET_S, 1800, 48)
    assert series.posts[-1] == sum(range(292, 298))
    assert series.posts[0] == sum(range(10, 16))
    assert set(series.negatives) == {3}
    assert len(series_of(counts, Scope("t"), 20).posts) == 3, "as much as there is"
    assert np.sum(series_of(counts, Scope("nobody"), 298).posts) == 0


def test_an_event_survives_its_json_and_what_is_no_number_is_null() -> None:
    opened, _ = after((0, 4.0))
    assert opened is not None
    series = Series(1_800, 1800, (1, 2), (0, 1))
    event = Event(opened, Transition.OPENED, ("topic:t",), Threshold(4.0, float("nan"), 0.0), "volume", series)
    written = event.to_json()
    assert written["threshold"] == {"fire": 4.0, "per_key_week": None, "key_weeks": 0.0}
    read = Event.from_json(written)
    assert np.isnan(read.threshold.per_key_week)
    assert (read.threshold.fire, read.threshold.key_weeks) == (4.0, 0.0)
    assert replace(read, threshold=event.threshold) == event
    older = {name: value for name, value in written.items() if name != "inhibited"} | {"muted": ["topic:t"]}
    assert Event.from_json(older).inhibited == ("topic:t",)
