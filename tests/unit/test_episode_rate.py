"""The rate of false alerts is stated with its interval, and thresholds are chosen by it."""

from __future__ import annotations

import json
import math
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import poisson

from models.json_types import JsonObject
from pipeline.alerting.counting.history import CountHistory
from pipeline.alerting.detection.episode_rate import clustering, rate_interval
from pipeline.alerting.detection.thresholds import Calibration, Threshold
from pipeline.alerting.evaluation.backtest import ScoreHistory, calibrate
from pipeline.alerting.evaluation.episode_peaks import EpisodePeaks
from pipeline.alerting.evaluation.episodes import Episode, Policy, Transition
from pipeline.alerting.evaluation.events import Event
from pipeline.domain.alert_evidence import Series
from tests.builders import START
from tests.unit.test_evaluator_state import NOVA

HOUR = timedelta(hours=1)


@given(st.integers(0, 400), st.floats(1.0, 1000.0), st.floats(1.0, 5.0))
def test_the_interval_holds_the_rate_and_widens_with_clustering(
    episodes: int, key_weeks: float, clusters: float
) -> None:
    low, high = rate_interval(episodes, key_weeks)
    assert 0 <= low <= episodes / key_weeks < high
    wider = rate_interval(episodes, key_weeks, clusters)
    assert wider.low <= low + 1e-9
    assert wider.high >= high - 1e-9


@pytest.mark.parametrize("mean", [0.5, 3.0, 12.0, 60.0])
def test_at_least_eight_of_ten_intervals_hold_the_true_rate(mean: float) -> None:
    held = sum(
        poisson.pmf(n, mean)
        for n in range(200)
        if rate_interval(n, 10.0).low <= mean / 10 <= rate_interval(n, 10.0).high
    )
    assert 0.8 <= held < 0.97


def test_no_episodes_leave_a_rate_open_that_would_rarely_give_none() -> None:
    low, high = rate_interval(0, 20.0)
    assert low == 0
    assert math.exp(-high * 20) == pytest.approx(0.1)


@given(st.lists(st.integers(0, 9), max_size=30))
def test_clustering_is_at_least_one(counts: list[int]) -> None:
    assert clustering(np.array(counts, np.int64)) >= 1


def test_few_clusters_tell_nothing_about_clustering() -> None:
    assert clustering(np.array([9] + 6 * [0])) == 1
    assert clustering(np.array([9] + 7 * [0])) == pytest.approx(9)
    assert clustering(np.array([1, 2, 1, 2, 1, 2]), np.array([9] + 8 * [0])) == pytest.approx(9)


def scored(peaks: dict[int, list[float]], keys: int, weeks: int) -> tuple[CountHistory, ScoreHistory]:
    """An hourly history whose keys have episodes with these peaks, a day apart from each other."""
    score = np.zeros((keys, weeks * 168))
    for key, mine in peaks.items():
        for number, peak in enumerate(mine):
            score[key, 24 * number + 5] = peak
    counts = np.full(score.shape, 20)
    history = CountHistory(tuple(f"k{k:03}" for k in range(keys)), START, 3600, counts, counts // 5)
    nothing = np.zeros(score.shape)
    return history, ScoreHistory(score, counts, counts, nothing, nothing, nothing + 0.2, nothing > 0)


def test_peaks_are_counted_by_key_and_by_week() -> None:
    history, scores = scored({0: [5.0, 3.0, 4.0], 2: [6.0] * 9}, keys=9, weeks=2)
    peaks = EpisodePeaks.of(scores.score, Policy(), HOUR)
    assert peaks.threshold(4.0, 12.0).per_key_week == pytest.approx(11 / 12)
    assert sorted(peaks.week.tolist()) == [0] * 10 + [1] * 2
    assert (peaks.n_keys, peaks.n_weeks) == (9, 2)
    alone, spread = peaks.threshold(6.0, 12.0), rate_interval(9, 12.0)
    assert alone.high is not None
    assert alone.high > 1.5 * spread.high, "nine episodes of one key say as much as one"


def test_with_enough_weeks_the_upper_end_of_the_interval_meets_the_target() -> None:
    rng = np.random.default_rng(1)
    history, scores = scored({k: rng.uniform(2.5, 8, 2).tolist() for k in range(100)}, keys=100, weeks=2)
    found = calibrate(history, scores, 0.1)["10 to 50/h"]
    assert found.high is not None
    assert found.high <= 0.1
    assert found.per_key_week > 0.04
    lower = EpisodePeaks.of(scores.score, Policy(), HOUR).threshold(found.fire - 0.1, history.key_weeks)
    assert lower.high is not None
    assert lower.high > 0.1, "it is the lowest threshold of that kind"


def test_with_few_weeks_the_rate_itself_meets_the_target_and_the_interval_says_how_little_is_known() -> None:
    history, scores = scored({0: [5.0], 1: [3.0], 2: [4.0]}, keys=10, weeks=2)
    found = calibrate(history, scores, 0.1)["10 to 50/h"]
    assert found.per_key_week == pytest.approx(0.1)
    assert found.high is not None
    assert found.high > 0.1
    assert "80 % interval" in str(found)


def test_a_history_without_episodes_has_the_lowest_threshold() -> None:
    history, scores = scored({}, keys=100, weeks=2)
    found = calibrate(history, scores, 0.1)["10 to 50/h"]
    assert (found.fire, found.per_key_week, found.low) == (2.0, 0.0, 0.0)


def test_a_calibration_keeps_its_intervals_and_reads_one_without() -> None:
    found = Calibration(START, 0.1, {"under 10/h": Threshold(4.5, 0.08, 120.0, 0.06, 0.1)})
    assert Calibration.from_json(json.loads(json.dumps(found.to_json()))) == found
    old: JsonObject = {
        "at": START.isoformat(),
        "target": 0.1,
        "tiers": {"under 10/h": {"fire": 4.5, "per_key_week": 0.08, "key_weeks": 9.0}},
    }
    assert Calibration.from_json(old).thresholds["under 10/h"].high is None


def test_an_event_gives_the_release_before_only_what_it_knows() -> None:
    event = Event(NOVA, Transition.OPENED, (), Threshold(4.0, 0.1, 90.0, 0.06, 0.15), "t", Series(300, 300, (1,), (0,)))
    written = json.loads(json.dumps(event.to_json()))
    assert set(written["threshold"]) == {"fire", "per_key_week", "key_weeks"}
    assert Event.from_json(written) == event
    del written["rate"]
    assert Event.from_json(written).threshold.high is None
    assert isinstance(NOVA, Episode)
