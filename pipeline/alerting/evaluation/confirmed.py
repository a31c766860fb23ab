"""Crises that people confirmed: a calibration counts neither them nor what they touched as false alarms. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from pipeline.alerting.counting.history import CountHistory
from pipeline.alerting.detection.thresholds import Threshold
from pipeline.alerting.evaluation.backtest import ScoreHistory, table_of, tiers_of
from pipeline.alerting.evaluation.episode_peaks import segments
from pipeline.alerting.evaluation.episodes import Policy
from pipeline.alerting.evaluation.exclusions import touched

#: An alert lasts for a while after its last posts, because the windows are up to this long.
AFTER = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class DecidingEpisode:
    """An episode that a calibration took for a false alarm, and that raised the threshold of its tier."""

    tier: str
    key: str
    at: datetime
    score: float

    @property
    def name(self) -> str:
        """The value for `--except`."""
        return f"{self.key}@{self.at:%Y-%m-%dT%H:%MZ}"


def without(history: CountHistory, scores: ScoreHistory, key: str, start: datetime, end: datetime) -> ScoreHistory:
    """The scores, set to 0 in that time for the key and for the keys that share many of its posts."""
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


def without_episode(
    history: CountHistory, scores: ScoreHistory, key: str, at: datetime, policy: Policy
) -> ScoreHistory | None:
    """The scores without the key's episode that runs within `AFTER` of that time; None where there is none."""
    row, bucket = history.keys.index(key), timedelta(seconds=history.bucket_s)
    segment = segments(scores.score[row], policy, bucket)
    near = np.abs(np.arange(len(segment)) - (at - history.start) / bucket) <= AFTER / bucket
    high = scores.score[row] >= policy.end_below
    episode = np.flatnonzero(np.isin(segment, segment[near & high]) & high)
    if not len(episode):
        return None
    first, last = (history.start + int(b) * bucket for b in (episode[0], episode[-1] + 1))
    return without(history, scores, key, first, last)


def deciding(
    history: CountHistory, scores: ScoreHistory, found: dict[str, Threshold], policy: Policy
) -> list[DecidingEpisode]:
    """The episodes that raised a threshold above `policy.critical`, the highest score first."""
    warm, deciding_episodes = np.where(scores.cold, 0.0, scores.score), []
    for row, tier in enumerate(tiers_of(history)):
        threshold = found.get(tier)
        if threshold is None or threshold.fire <= policy.critical:
            continue
        segment = segments(warm[row], policy, timedelta(seconds=history.bucket_s))
        for number in np.unique(segment[warm[row] >= threshold.fire - 0.1]):
            at = int(np.argmax(np.where(segment == number, warm[row], -1.0)))
            deciding_episodes.append(
                DecidingEpisode(tier, history.keys[row], history.end_of(at), round(float(warm[row, at]), 1))
            )
    return sorted(deciding_episodes, key=lambda d: -d.score)
