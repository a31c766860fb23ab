"""The rules over history: scores, episodes, the false-alert rate, and the threshold for a given rate. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.alerting.counting.history import CountHistory
from pipeline.alerting.counting.table import CountTable, scope_of
from pipeline.alerting.detection.negative_share import Detector, DetectorConfig
from pipeline.alerting.detection.tail import Floats, onset
from pipeline.alerting.detection.thresholds import Threshold, tier_of
from pipeline.alerting.detection.verdicts import Estimate, KeyCounts, Verdicts
from pipeline.alerting.detection.volume import VolumeDetector
from pipeline.alerting.evaluation.episode_peaks import EpisodePeaks
from pipeline.alerting.evaluation.episodes import Episode, Policy, Transition, step
from pipeline.alerting.evaluation.exclusions import LEARN_BELOW, touched
from pipeline.alerting.evaluation.observations import observation_of
from pipeline.alerting.evaluation.overrides import KeyOverride, override_of
from pipeline.alerting.evaluation.score_models import ScoreModels
from pipeline.alerting.evaluation.volume_lane import CALM
from pipeline.domain.counting import EVERYTHING, Scope

Number = TypeVar("Number", bound=np.generic)
NEGATIVE_POLICY = Policy()
VOLUME_POLICY = Policy(fire=4.75, critical=7.0, calm=CALM)
_GRID = np.arange(2.0, 20.01, 0.1)
#: From this number of allowed episodes on, the upper end of the interval of the rate meets the target.
LEAST_EXPECTED = 10.0
_VERDICT_FIELDS = tuple(f.name for f in fields(Verdicts))


@dataclass(frozen=True)
class ScoreHistory:
    """The verdicts on a history, [n_keys, n_buckets] each; the fields are those of `Verdicts`.

    `estimates` are what the estimates of an episode's buckets rest on, by key and bucket.
    """

    score: Floats
    window: NDArray[np.int64]
    posts: NDArray[np.int64]
    observed: Floats
    expected: Floats
    baseline: Floats
    cold: NDArray[np.bool_]
    estimates: Mapping[tuple[int, int], Estimate] = field(default_factory=dict)

    def at(self, bucket: int) -> Verdicts:
        """The verdicts at the end of one bucket."""
        return Verdicts(**{name: getattr(self, name)[:, bucket] for name in _VERDICT_FIELDS})

    def since(self, bucket: int) -> ScoreHistory:
        """The same without the buckets before `bucket`."""
        estimates = {(key, at - bucket): found for (key, at), found in self.estimates.items() if at >= bucket}
        return ScoreHistory(**{name: getattr(self, name)[:, bucket:] for name in _VERDICT_FIELDS}, estimates=estimates)


def negative_scores(
    history: CountHistory,
    config: DetectorConfig,
    on_progress: Callable[[float], None] = lambda _: None,
    models: ScoreModels | None = None,
) -> ScoreHistory:
    """The scores of the negative lane; `on_progress` is called with the finished share, in [0, 1].

    The `models` read the sums of scores; without them, or without sums, labels are counted.

    A bucket that scores `LEARN_BELOW` or more teaches neither its own key nor the keys that it touches.
    """
    span, (n_keys, n_buckets) = config.span, history.posts.shape
    if models is None or history.score_sums is None:
        models = ScoreModels()
    detector = Detector(config, models)
    table = table_of(history, span)
    scopes = table.scopes
    counts = KeyCounts(table.posts, table.negatives, table.score_sums, models.numbers(scopes))
    verdicts, estimates = [], dict[tuple[int, int], Estimate]()
    excluded = np.zeros((n_keys, n_buckets + span), np.bool_)
    for end in range(1, n_buckets + 1):
        on_progress(end / n_buckets)
        entering = span + end - config.learning_delay
        found = detector.step(counts.between(end, end + span), excluded[:, entering])
        for row in np.flatnonzero(found.score >= NEGATIVE_POLICY.end_below).tolist():
            estimate = detector.estimate(row, counts.between(span + end - int(found.window[row]), span + end))
            if estimate is not None:
                estimates[row, end - 1] = estimate
        longest = slice(span + end - max(config.windows), span + end)
        for row in np.flatnonzero(found.score >= LEARN_BELOW).tolist():
            others = (table.row(scope) for scope in touched(table, scopes[row], longest))
            excluded[[row, *(other for other in others if other is not None)], span + end - 1] = True
        verdicts.append(found)
    return replace(_scores(verdicts), estimates=estimates)


def table_of(history: CountHistory, before: int = 0) -> CountTable:
    """The counts of a history as a table; a key whose name is not that of a scope counts as a subject.

    The table has `before` empty buckets before the history.
    """
    scopes = [history.scopes.get(key) or scope_of(key) or Scope("", key) for key in history.keys]
    sums = np.zeros(history.posts.shape) if history.score_sums is None else history.score_sums
    empty = ((0, 0), (before, 0))
    posts, negatives = np.pad(history.posts, empty), np.pad(history.negatives, empty)
    return CountTable.holding(scopes, posts, negatives, score_sums=np.pad(sums, empty))


def volume_scores(history: CountHistory) -> ScoreHistory:
    """The scores of the volume lane."""
    detector = VolumeDetector(history.bucket_s)
    posts = np.pad(history.posts, ((0, 0), (detector.hour - 1, 0)))
    return _scores([detector.step(posts[:, i : i + detector.hour]) for i in range(history.posts.shape[1])])


def _scores(verdicts: Sequence[Verdicts]) -> ScoreHistory:
    return ScoreHistory(
        score=_columns(verdict.score for verdict in verdicts),
        window=_columns(verdict.window for verdict in verdicts),
        posts=_columns(verdict.posts for verdict in verdicts),
        observed=_columns(verdict.observed for verdict in verdicts),
        expected=_columns(verdict.expected for verdict in verdicts),
        baseline=_columns(verdict.baseline for verdict in verdicts),
        cold=_columns(verdict.cold for verdict in verdicts),
    )


def _columns(values: Iterable[NDArray[Number]]) -> NDArray[Number]:
    return np.stack(list(values), axis=1)


def tiers_of(history: CountHistory) -> list[str]:
    """The volume tier of each key, by its mean posts per hour."""
    return [tier_of(rate) for rate in history.posts.mean(1) * 3600 / history.bucket_s]


def episodes(
    history: CountHistory,
    scores: ScoreHistory,
    fire: Sequence[float],
    policy: Policy,
    overrides: Sequence[KeyOverride] = (),
) -> list[Episode]:
    """All episodes, where `fire[k]` is the threshold of key k; those that last to the end stay open.

    The `overrides` count as in the alert role, except that the caller puts their thresholds into `fire`.
    """
    found: list[Episode] = []
    for k, key in enumerate(history.keys):
        override = override_of(overrides, key)
        own_policy = override.applied(policy.firing_at(fire[k]))
        current: Episode | None = None
        if scores.score[k].max(initial=0.0) < own_policy.fire:
            continue
        for b in range(history.posts.shape[1]):
            if current is None and scores.score[k, b] < own_policy.fire:
                continue
            observation = observation_of(
                scores.at(b), k, history.end_of(b), history.bucket_s, scores.estimates.get((k, b))
            )
            if current is None and not override.admits(observation):
                continue
            scope = history.scopes.get(key, EVERYTHING)
            current, transition = step(current, observation, own_policy, key=key, scope=scope)
            if transition is Transition.OPENED and current is not None:
                current = replace(current, started_at=_began_at(history, scores, k, b, current))
            if transition is Transition.RESOLVED and current is not None:
                found.append(current)
                current = None
        if current is not None:
            found.append(current)
    return sorted(found, key=lambda e: (e.fired_at, e.key))


def calibrate(
    history: CountHistory, scores: ScoreHistory, target: float, policy: Policy = NEGATIVE_POLICY
) -> dict[str, Threshold]:
    """For each volume tier a threshold with at most `target` episodes per key-week.

    It is the lowest where the upper end of the 80 % interval of the rate meets the target. Where the target allows
    fewer than `LEAST_EXPECTED` episodes on this history, that would ask for hardly any; there it is the lowest where
    the rate itself meets the target, and the interval says how little is known. Cold keys fire by limits of their own
    and do not count. The key-weeks are those of the whole history, as in the rate that is reported.
    """
    tiers, bucket = np.array(tiers_of(history)), timedelta(seconds=history.bucket_s)
    warm = np.where(scores.cold, 0.0, scores.score)
    chosen = {}
    for name in dict.fromkeys(tiers.tolist()):
        in_tier = tiers == name
        key_weeks = float(history.key_weeks * in_tier.sum() / len(in_tier))
        # Weeks in which every key is cold have no episodes, and would look like clustering.
        begin = int((~scores.cold[in_tier]).any(0).argmax())
        peaks = EpisodePeaks.of(warm[in_tier, begin:], policy, bucket)
        found = [peaks.threshold(float(fire), key_weeks) for fire in _GRID]
        certain = target * key_weeks >= LEAST_EXPECTED
        meets = (t for t in found if (t.high if certain and t.high is not None else t.per_key_week) <= target)
        chosen[name] = next(meets, found[-1])
    return chosen


def thresholds(history: CountHistory, fire: float, by_tier: Mapping[str, Threshold]) -> list[float]:
    """The threshold of each key: that of its tier, or `fire` where the calibration saw no key of the tier."""
    return [by_tier[tier].fire if tier in by_tier else fire for tier in tiers_of(history)]


def _began_at(history: CountHistory, scores: ScoreHistory, k: int, b: int, episode: Episode) -> datetime:
    """When the rise of key k most likely began, seen from bucket b.

    The volume lane has no baseline, so there the start of the episode stays.
    """
    baseline = float(scores.baseline[k, b])
    if not baseline:
        return episode.started_at
    window = slice(max(0, b + 1 - int(scores.window[k, b])), b + 1)
    posts = history.posts[k, window]
    negatives: NDArray[np.int64] | Floats = history.negatives[k, window]
    estimate = scores.estimates.get((k, b))
    if estimate is not None and history.score_sums is not None:
        negatives = estimate.negatives(posts, history.score_sums[k, window])
    first = onset(posts, negatives, baseline)
    return history.end_of(b) - timedelta(seconds=(window.stop - window.start - first) * history.bucket_s)
