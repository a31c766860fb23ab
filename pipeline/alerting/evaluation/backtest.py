"""The rule over history: scores, episodes, the false-alert rate, and the threshold for a rate one wants. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.alerting.counting.history import History
from pipeline.alerting.counting.table import CountTable, scope_of
from pipeline.alerting.detection.negative_share import Detector, DetectorConfig, Verdicts
from pipeline.alerting.detection.tail import Floats, onset
from pipeline.alerting.detection.thresholds import Threshold, tier_of
from pipeline.alerting.detection.volume import VolumeDetector
from pipeline.alerting.evaluation.episodes import Episode, Observation, Policy, Transition, step
from pipeline.alerting.evaluation.exclusions import touched
from pipeline.alerting.evaluation.overrides import KeyOverride, override_of
from pipeline.alerting.evaluation.volume_lane import CALM
from pipeline.domain.counting import EVERYTHING, Scope

#: History has no episodes yet that could be left out: what scores as high as this may be one.
LEARN_BELOW = 3.5
NEGATIVE_LANE = Policy()
VOLUME_LANE = Policy(fire=4.75, critical=7.0, calm=CALM)
_GRID = np.arange(2.0, 20.01, 0.1)


@dataclass(frozen=True)
class Scores:
    """Per key and bucket, [n_keys, n_buckets]: the score and the window that gave it."""

    score: Floats
    window: NDArray[np.int64]
    posts: NDArray[np.int64]
    observed: NDArray[np.int64]
    expected: Floats
    baseline: Floats
    cold: NDArray[np.bool_]


def negative_scores(history: History, rule: DetectorConfig, tell: Callable[[float], None] = lambda _: None) -> Scores:
    """The negative lane; `tell`: the share done.

    Buckets that score over `LEARN_BELOW` teach nothing, neither their key nor those that hold much of its posts.
    """
    detector, span = Detector(rule), rule.span
    posts, negatives = (np.pad(a, ((0, 0), (span, 0))) for a in (history.posts, history.negatives))
    n_keys, n_buckets = history.posts.shape
    table = table_of(replace(history, posts=posts, negatives=negatives))
    scopes = table.scopes
    verdicts = []
    hot = np.zeros((n_keys, n_buckets + span), np.bool_)
    lag = max(rule.windows) + rule.guard + 1
    for end in range(1, n_buckets + 1):
        tell(end / n_buckets)
        entering = span + end - lag
        v = detector.step(posts[:, end : end + span], negatives[:, end : end + span], hot[:, entering])
        assert v is not None  # noqa: S101
        now = slice(span + end - max(rule.windows), span + end)
        for row in np.flatnonzero(v.score >= LEARN_BELOW).tolist():
            others = (table.row(scope) for scope in touched(table, scopes[row], now))
            hot[[row, *(other for other in others if other is not None)], span + end - 1] = True
        verdicts.append(v)
    return _scores(verdicts)


def table_of(history: History) -> CountTable:
    """The counts of a history by what its keys stand for, as far as their names say it."""
    scopes = [history.scopes.get(key) or scope_of(key) or Scope("", key) for key in history.keys]
    return CountTable.holding(scopes, history.posts, history.negatives)


def volume_scores(history: History) -> Scores:
    """The volume lane (`volume.py`)."""
    detector = VolumeDetector(history.bucket_s)
    posts = np.pad(history.posts, ((0, 0), (detector.hour - 1, 0)))
    columns = range(history.posts.shape[1])
    return _scores([v for c in columns if (v := detector.step(posts[:, c : c + detector.hour])) is not None])


def _scores(verdicts: Sequence[Verdicts]) -> Scores:
    """Of verdicts bucket by bucket."""
    names = ("score", "window", "posts", "negatives", "expected", "baseline", "cold")
    values = [np.stack([getattr(v, name) for v in verdicts], axis=1) for name in names]
    return Scores(*values)


def tiers_of(history: History) -> list[str]:
    """The volume tier of each key, by its mean posts an hour."""
    return [tier_of(rate) for rate in history.posts.mean(1) * 3600 / history.bucket_s]


def episodes(
    history: History, scores: Scores, fire: Sequence[float], policy: Policy, rules: Sequence[KeyOverride] = ()
) -> list[Episode]:
    """All episodes, with `fire[k]` the threshold of key k; those that last to the end are left open.

    `rules` for some keys count as they do in the alert role; the threshold of such a rule is to stand in `fire`.
    """
    found: list[Episode] = []
    for k, key in enumerate(history.keys):
        rule = override_of(rules, key)
        mine = rule.applied(policy.firing_at(fire[k]))
        current: Episode | None = None
        if scores.score[k].max(initial=0.0) < mine.fire:
            continue
        for b in range(history.posts.shape[1]):
            if current is None and scores.score[k, b] < mine.fire:
                continue
            observation = _reading(history, scores, k, b)
            if current is None and not rule.admits(observation):
                continue
            current, transition = step(current, observation, mine, key=key, scope=history.scopes.get(key, EVERYTHING))
            if transition is Transition.OPENED and current is not None:
                current = replace(current, started_at=_onset(history, scores, k, b, current))
            if transition is Transition.RESOLVED and current is not None:
                found.append(current)
                current = None
        if current is not None:
            found.append(current)
    return sorted(found, key=lambda e: (e.fired_at, e.key))


def calibrate(history: History, scores: Scores, target: float, policy: Policy = NEGATIVE_LANE) -> dict[str, Threshold]:
    """Per volume tier the lowest threshold with at most `target` episodes per key-week on this history.

    Cold keys fire by limits of their own and do not count; the key-weeks are those of the whole history, as they are
    where its rate is reported.
    """
    tiers, bucket = np.array(tiers_of(history)), timedelta(seconds=history.bucket_s)
    warm = np.where(scores.cold, 0.0, scores.score)
    chosen = {}
    for name in dict.fromkeys(tiers.tolist()):
        mine = tiers == name
        key_weeks = float(history.key_weeks * mine.sum() / len(mine))
        peaks = np.concatenate([_peaks(row, policy, bucket) for row in warm[mine]])
        counted = ((float(f), int((peaks >= f).sum())) for f in _GRID)
        highest = float(_GRID[-1]), int((peaks >= _GRID[-1]).sum())
        fire, found = next(((f, n) for f, n in counted if n <= target * key_weeks), highest)
        chosen[name] = Threshold(fire, found / key_weeks, key_weeks)
    return chosen


def thresholds(history: History, fire: float, by_tier: Mapping[str, Threshold]) -> list[float]:
    """The threshold of each key: its tier's, or `fire` where the calibration saw no such tier."""
    return [by_tier[tier].fire if tier in by_tier else fire for tier in tiers_of(history)]


def _peaks(row: Floats, policy: Policy, bucket: timedelta) -> Floats:
    """The highest score between two ends of what would be an episode: as many reach `fire` as there are episodes."""
    segment = segments(row, policy, bucket)
    peaks = np.zeros(segment[-1] + 1)
    np.maximum.at(peaks, segment, row)
    return peaks


def segments(row: Floats, policy: Policy, bucket: timedelta) -> NDArray[np.int64]:
    """A number per bucket that grows where what would be an episode ends."""
    low = row < policy.end_below
    last_high = np.maximum.accumulate(np.where(low, -1, np.arange(len(row))))
    ends = (np.arange(len(row)) - last_high - 1) * bucket.total_seconds() >= policy.calm.total_seconds()
    return np.cumsum(ends)


def _reading(history: History, s: Scores, k: int, b: int) -> Observation:
    return Observation(
        at=history.end_of(b),
        score=round(float(s.score[k, b]), 3),
        posts=int(s.posts[k, b]),
        observed=int(s.observed[k, b]),
        expected=round(float(s.expected[k, b]), 2),
        baseline=round(float(s.baseline[k, b]), 4),
        window_s=int(s.window[k, b]) * history.bucket_s,
        cold=bool(s.cold[k, b]),
    )


def _onset(history: History, s: Scores, k: int, b: int, episode: Episode) -> Any:
    baseline = float(s.baseline[k, b])
    if not baseline:
        return episode.started_at
    window = slice(max(0, b + 1 - int(s.window[k, b])), b + 1)
    first = onset(history.posts[k, window], history.negatives[k, window], baseline)
    return history.end_of(b) - timedelta(seconds=(window.stop - window.start - first) * history.bucket_s)
