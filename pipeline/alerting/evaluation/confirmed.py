"""Crises that people know were real: a calibration counts them as no false alarm, nor what they touched. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from pipeline.alerting.counting.history import History
from pipeline.alerting.detection.thresholds import Threshold
from pipeline.alerting.evaluation.backtest import Scores, segments, table_of, tiers_of
from pipeline.alerting.evaluation.episodes import Policy
from pipeline.alerting.evaluation.exclusions import touched

#: An alert goes on for a while after its last posts: the windows are up to this long.
AFTER = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class Deciding:
    """An episode that a calibration took for a false alarm, and that keeps its tier's threshold up."""

    tier: str
    key: str
    at: datetime
    score: float

    @property
    def name(self) -> str:
        """As `--except` takes it."""
        return f"{self.key}@{self.at:%Y-%m-%dT%H:%MZ}"


def without(history: History, scores: Scores, key: str, start: datetime, end: datetime) -> Scores:
    """The scores with none for the key in that time, nor for the keys that hold much of its posts then."""
    left, right = (
        min(max(0, (moment - history.start) // timedelta(seconds=history.bucket_s)), history.posts.shape[1])
        for moment in (start, end)
    )
    table = table_of(history)
    scope = table.scopes[history.keys.index(key)]
    rows = [history.keys.index(key), *(table.row(other) for other in touched(table, scope, slice(left, right)))]
    score = scores.score.copy()
    score[[row for row in rows if row is not None], left:right] = 0.0
    return replace(scores, score=score)


def without_episode(history: History, scores: Scores, key: str, at: datetime, policy: Policy) -> Scores | None:
    """The scores without the episode of the key that runs at that time, give or take `AFTER`; None where none does."""
    row, bucket = history.keys.index(key), timedelta(seconds=history.bucket_s)
    ids = segments(scores.score[row], policy, bucket)
    buckets = np.arange(len(ids))
    near = np.abs(buckets - (at - history.start) / bucket) <= AFTER / bucket
    loud = near & (scores.score[row] >= policy.end_below)
    mine = np.flatnonzero(np.isin(ids, ids[loud]) & (scores.score[row] >= policy.end_below))
    if not len(mine):
        return None
    first, last = (history.start + int(b) * bucket for b in (mine[0], mine[-1] + 1))
    return without(history, scores, key, first, last)


def deciding(history: History, scores: Scores, found: dict[str, Threshold], policy: Policy) -> list[Deciding]:
    """Of tiers whose threshold came out above `policy.critical`: the episodes at or above it, the highest first."""
    warm, names = np.where(scores.cold, 0.0, scores.score), []
    for row, tier in enumerate(tiers_of(history)):
        threshold = found.get(tier)
        if threshold is None or threshold.fire <= policy.critical:
            continue
        ids = segments(warm[row], policy, timedelta(seconds=history.bucket_s))
        for one in np.unique(ids[warm[row] >= threshold.fire - 0.1]):
            at = int(np.argmax(np.where(ids == one, warm[row], -1.0)))
            names.append(Deciding(tier, history.keys[row], history.end_of(at), round(float(warm[row, at]), 1)))
    return sorted(names, key=lambda d: -d.score)
