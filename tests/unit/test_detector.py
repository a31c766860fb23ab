"""The rule and the episodes."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import betabinom

from pipeline.alerting.detection.negative_share import Detector, DetectorConfig
from pipeline.alerting.detection.tail import exceeds_lift, log10_tail
from pipeline.alerting.detection.verdicts import Verdicts
from pipeline.alerting.evaluation.episodes import Episode, Observation, Policy, Transition, step
from pipeline.domain.alert import CRITICAL
from pipeline.domain.counting import Scope
from tests.builders import START, counted

RULE = DetectorConfig()


@given(st.integers(1, 300), st.floats(0.0, 1.0), st.floats(0.02, 0.9), st.floats(0.003, 0.3))
@settings(max_examples=60)
def test_the_tail_is_that_of_scipy(n: int, part: float, share: float, rho: float) -> None:
    k, m = max(1, round(n * part)), 1 / rho - 1
    ours = log10_tail(np.array([k]), np.array([n]), np.array([share * m]), np.array([(1 - share) * m]))[0]
    # Term by term: its own `sf` is 1 - cdf, of which little is left far out.
    theirs = logsumexp(betabinom.logpmf(np.arange(k, n + 1), n, share * m, (1 - share) * m)) / np.log(10)
    assert ours == pytest.approx(min(0.0, theirs), abs=1e-4)


@given(st.integers(1, 400), st.floats(0.0, 1.0), st.floats(0.005, 0.95), st.floats(1.0, 5.0))
def test_a_rise_is_more_negatives_or_so_many_fewer_others(n: int, part: float, share: float, lift: float) -> None:
    k = round(n * part)
    risen = bool(exceeds_lift(np.array([k]), np.array([n]), np.array([share]), lift)[0])
    if share * (1 + lift) < 0.999:
        assert risen == (k >= lift * (n * share))
    assert risen or k < n, "a key of which every post is negative has risen, whatever its share was"
    assert not risen or k >= n * share * (1 - 1e-9)


def run(posts: np.ndarray, negatives: np.ndarray) -> list[Verdicts]:
    """Verdicts bucket by bucket of int64[n_keys, buckets]."""
    detector, found = Detector(RULE), []
    padded = [np.pad(a, ((0, 0), (RULE.span, 0))) for a in (posts, negatives)]
    quiet = np.zeros(len(posts), np.bool_)
    for end in range(1, posts.shape[1] + 1):
        newest = slice(end, end + RULE.span)
        verdict = detector.step(counted(padded[0][:, newest], padded[1][:, newest]), quiet)
        assert verdict is not None
        found.append(verdict)
    return found


def quiet_weeks(seed: int, days: int = 14, keys: int = 3, share: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    posts = rng.poisson(5, (keys, days * 288))
    return posts, rng.binomial(posts, share)


@pytest.mark.parametrize(("usual", "spike"), [(0.2, 0.7), (0.7, 0.97)])
def test_a_spike_fires_within_an_hour_and_only_in_its_key(usual: float, spike: float) -> None:
    posts, negatives = quiet_weeks(1, share=usual)
    start = 13 * 288
    negatives[1, start : start + 72] = np.random.default_rng(2).binomial(posts[1, start : start + 72], spike)
    verdicts = run(posts, negatives)
    fired = [i for i, v in enumerate(verdicts) if v.score[1] >= 4]
    assert start < fired[0] <= start + 12
    assert max(v.score[0] for v in verdicts) < 4
    assert max(v.score[2] for v in verdicts) < 4


def test_a_burst_of_volume_with_the_usual_share_does_not_fire() -> None:
    posts, _ = quiet_weeks(3)
    posts[0, 3000:3040] *= 10
    negatives = np.random.default_rng(4).binomial(posts, 0.2)
    assert max(v.score.max() for v in run(posts, negatives)) < 4


def test_a_fall_and_a_few_posts_never_fire() -> None:
    posts, negatives = quiet_weeks(5)
    negatives[0, -100:] = 0
    posts[1] = 0
    negatives[1] = 0
    posts[1, -5:] = negatives[1, -5:] = 1
    assert max(v.score[:2].max() for v in run(posts, negatives)[-100:]) < 4


def test_a_cold_key_needs_forty_percent_of_fifty() -> None:
    posts, negatives = quiet_weeks(6, days=3, keys=2)
    posts[0, :-40], negatives[0, :-40] = 0, 0
    posts[0, -40:], negatives[0, -40:] = 4, 1
    assert run(posts, negatives)[-1].score[0] == 0
    negatives[0, -40:] = 3
    last = run(posts, negatives)[-1]
    assert last.score[0] > 4
    assert last.cold[0]


def test_before_any_key_is_a_day_old_only_an_extreme_share_fires() -> None:
    posts = np.full((2, 60), 10)
    negatives = np.stack([np.full(60, 6), np.full(60, 9)])
    last = run(posts, negatives)[-1]
    assert last.cold.all()
    assert last.score[0] < 4 < last.score[1]


POLICY = Policy()


def observation(minute: int, score: float) -> Observation:
    return Observation(START + timedelta(minutes=minute), score, 100, 60, 20.0, 0.2, 3600, False)


def play(scores: list[float]) -> list[tuple[Transition, Episode]]:
    episode: Episode | None = None
    told = []
    for number, score in enumerate(scores):
        episode, transition = step(episode, observation(5 * number, score), POLICY, key="k", scope=Scope("t"))
        if transition is not None and episode is not None:
            told.append((transition, episode))
        if transition is Transition.RESOLVED:
            episode = None
    return told


def test_one_spike_is_opened_escalated_reminded_and_resolved_once() -> None:
    told = play([0, 4.5, 5, 7, *[7] * 60, 3, *[1] * 10])
    assert [t for t, _ in told] == [
        Transition.OPENED, Transition.ESCALATED, Transition.REMINDER, Transition.RESOLVED,
    ]  # fmt: skip
    assert told[-1][1].severity == CRITICAL
    assert len({e.id for _, e in told}) == 1


@given(st.lists(st.floats(0, 9), max_size=120))
def test_every_episode_opens_once_and_ends_after_half_an_hour_of_calm(scores: list[float]) -> None:
    told = play(scores)
    kinds = [t for t, _ in told]
    for before, after in pairwise(kinds):
        assert (before is Transition.RESOLVED) == (after is Transition.OPENED)
    for transition, episode in told:
        number = round((episode.updated_at - START) / timedelta(minutes=5))
        if transition is Transition.RESOLVED:
            assert all(s < POLICY.end_below for s in scores[number - 6 : number + 1])
        if transition is Transition.OPENED:
            assert scores[number] >= POLICY.fire
    sequences = [e.sequence for _, e in told]
    assert all(b == a + 1 or b == 0 for a, b in pairwise(sequences))


def test_an_episode_survives_its_json() -> None:
    episode = play([5.0])[0][1]
    assert Episode.from_json(episode.to_json()) == episode
    assert isinstance(Episode.from_json(episode.to_json()).started_at, datetime)
