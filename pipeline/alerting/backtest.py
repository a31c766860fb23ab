"""The rule over history: scores, episodes, the false-alert rate, and the threshold for a rate one wants. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import nbinom

from pipeline.alerting.detector import Detector, Rule
from pipeline.alerting.episodes import Episode, Policy, Reading, Transition, step
from pipeline.alerting.history import History
from pipeline.alerting.tail import Floats, onset
from pipeline.alerting.tiers import Threshold, tier_of

#: History has no episodes yet that could be left out: what scores as high as this may be one.
LEARN_BELOW = 3.5
NEGATIVE_LANE = Policy()
#: The posts of one story come in waves: calm for six hours ends it.
VOLUME_LANE = Policy(fire=4.75, critical=7.0, calm=timedelta(hours=6))
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


def negative_scores(history: History, rule: Rule, tell: Callable[[float], None] = lambda _: None) -> Scores:
    """The negative lane. Buckets that score over `LEARN_BELOW` do not teach the baseline; `tell`: the share done."""
    detector, span = Detector(rule), rule.span
    posts, negatives = (np.pad(a, ((0, 0), (span, 0))) for a in (history.posts, history.negatives))
    n_keys, n_buckets = history.posts.shape
    columns: dict[str, list[Any]] = {name: [] for name in Scores.__dataclass_fields__}
    hot = np.zeros((n_keys, n_buckets + span), np.bool_)
    lag = max(rule.windows) + rule.guard + 1
    for end in range(1, n_buckets + 1):
        tell(end / n_buckets)
        entering = span + end - lag
        v = detector.step(posts[:, end : end + span], negatives[:, end : end + span], hot[:, entering])
        assert v is not None  # noqa: S101
        hot[:, span + end - 1] = v.score >= LEARN_BELOW
        for name, value in zip(
            columns, (v.score, v.window, v.posts, v.negatives, v.expected, v.baseline, v.cold), strict=True
        ):
            columns[name].append(value)
    return Scores(**{name: np.stack(values, axis=1) for name, values in columns.items()})


def volume_scores(history: History, *, days: int = 14) -> Scores:
    """The volume lane: posts of the last hour against the same clock time of the `days` before.

    Negative binomial, its mean and dispersion by moments over those days (up to an hour to either side, in
    half-hours), the tail as -log10. Needs 3 days; rises of at least x2 and 10 posts only.
    """
    hour = 3600 // history.bucket_s
    n_buckets, day, half = history.posts.shape[1], 24 * hour, max(1, hour // 2)
    totals = np.pad(np.cumsum(history.posts, axis=1), ((0, 0), (1, 0)))
    now = np.zeros(history.posts.shape)
    now[:, hour - 1 :] = totals[:, hour:] - totals[:, :-hour]
    seen, total, squares = np.zeros(n_buckets), np.zeros_like(now), np.zeros_like(now)
    shifts = sorted({-2 * half, -half, 0, half, 2 * half})
    for back in (d * day + shift for d in range(1, days + 1) for shift in shifts):
        if back + hour < n_buckets:
            past = now[:, hour : n_buckets - back]
            seen[back + hour :] += 1
            total[:, back + hour :] += past
            squares[:, back + hour :] += past * past
    counted = np.maximum(seen, 2)
    mean = np.maximum(total / counted, 0.5)
    variance = np.maximum((squares - counted * (total / counted) ** 2) / (counted - 1), mean * 1.05)
    n = mean * mean / (variance - mean)
    tail = nbinom.sf(now - 1, n, n / (n + mean))
    rise = (seen >= 3 * len(shifts)) & (now >= 10) & (now >= 2 * mean)
    score = np.where(rise, -np.log10(np.maximum(tail, 1e-300)), 0.0)
    cold = np.broadcast_to(seen < 7 * len(shifts), score.shape)
    counts = now.astype(np.int64)
    return Scores(score, np.full_like(counts, hour), counts, counts, mean, np.zeros_like(mean), cold)


def tiers_of(history: History) -> list[str]:
    """The volume tier of each key, by its mean posts an hour."""
    return [tier_of(rate) for rate in history.posts.mean(1) * 3600 / history.bucket_s]


def episodes(history: History, scores: Scores, fire: Sequence[float], policy: Policy) -> list[Episode]:
    """All episodes, with `fire[k]` the threshold of key k; those that last to the end are left open."""
    found: list[Episode] = []
    for k, key in enumerate(history.keys):
        mine = policy.firing_at(fire[k])
        current: Episode | None = None
        if scores.score[k].max(initial=0.0) < mine.fire:
            continue
        for b in range(history.posts.shape[1]):
            if current is None and scores.score[k, b] < mine.fire:
                continue
            before = current
            current, transition = step(before, _reading(history, scores, k, b), mine, key=key, topic="", subject="")
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
        fire, found = next(((f, n) for f, n in counted if n <= target * key_weeks), (float(_GRID[-1]), 0))
        chosen[name] = Threshold(fire, found / key_weeks, key_weeks)
    return chosen


def thresholds(history: History, fire: float, by_tier: Mapping[str, Threshold]) -> list[float]:
    """The threshold of each key: its tier's, or `fire` where the calibration saw no such tier."""
    return [by_tier[tier].fire if tier in by_tier else fire for tier in tiers_of(history)]


def _peaks(row: Floats, policy: Policy, bucket: timedelta) -> Floats:
    """The highest score between two ends of what would be an episode: as many reach `fire` as there are episodes."""
    low = row < policy.end_below
    last_high = np.maximum.accumulate(np.where(low, -1, np.arange(len(row))))
    ends = (np.arange(len(row)) - last_high - 1) * bucket.total_seconds() >= policy.calm.total_seconds()
    segment = np.cumsum(ends)
    peaks = np.zeros(segment[-1] + 1)
    np.maximum.at(peaks, segment, row)
    return peaks


def _reading(history: History, s: Scores, k: int, b: int) -> Reading:
    return Reading(
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
