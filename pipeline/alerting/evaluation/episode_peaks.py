"""Where episodes would begin and end, and how many there are at each threshold, without opening any. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.alerting.detection.episode_rate import clustering, rate_interval
from pipeline.alerting.detection.thresholds import Threshold
from pipeline.alerting.evaluation.episodes import Policy

Floats = NDArray[np.float64]
_WEEK = timedelta(weeks=1)


class EpisodePeaks(NamedTuple):
    """The highest score of each segment of a history, and the numbers of its key and of its week.

    Those that reach a threshold are as many as the episodes at that threshold.
    """

    score: Floats
    key: NDArray[np.int64]
    week: NDArray[np.int64]
    n_keys: int
    n_weeks: int

    @classmethod
    def of(cls, score: Floats, policy: Policy, bucket: timedelta) -> Self:
        """The segments of scores, float64[n_keys, n_buckets], that reach `policy.end_below`."""
        n_keys, n_buckets = score.shape
        week = np.arange(n_buckets) // max(1, _WEEK // bucket)
        peaks, keys, weeks = [np.zeros(0)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for key, row in enumerate(score):
            segment = segments(row, policy, bucket)
            peak = np.zeros(segment[-1] + 1)
            np.maximum.at(peak, segment, row)
            high = np.flatnonzero(peak >= policy.end_below)
            peaks.append(peak[high])
            keys.append(np.full(len(high), key))
            weeks.append(week[np.searchsorted(segment, high)])
        return cls(np.concatenate(peaks), np.concatenate(keys), np.concatenate(weeks), n_keys, int(week[-1]) + 1)

    def threshold(self, fire: float, key_weeks: float) -> Threshold:
        """The rate at a threshold of at least `policy.end_below`; keys and weeks are clusters of episodes."""
        high = self.score >= fire
        by_key = np.bincount(self.key[high], minlength=self.n_keys)
        by_week = np.bincount(self.week[high], minlength=self.n_weeks)
        count = int(high.sum())
        interval = rate_interval(count, key_weeks, clustering(by_key, by_week))
        return Threshold(fire, count / key_weeks, key_weeks, *interval)


def segments(row: Floats, policy: Policy, bucket: timedelta) -> NDArray[np.int64]:
    """A number per bucket that grows by one wherever an episode would end."""
    low = row < policy.end_below
    last_high = np.maximum.accumulate(np.where(low, -1, np.arange(len(row))))
    ends = (np.arange(len(row)) - last_high - 1) * bucket.total_seconds() >= policy.calm.total_seconds()
    return np.cumsum(ends)
