"""The volume rule: does a key have more posts than at this time of day before? Pure, vectorised over keys.

For each key and bucket the rule compares the posts of the last hour (n) with the same hour of the clock on each of the
last 14 days. It takes each day five times, at the time itself and 30 and 60 minutes to either side, because a daily
wave is not punctual.

- mean m and variance V of these by moments, m >= 0.5 and V >= 1.05 m; then r = m^2 / (V - m) and
  score = -log10 P(X >= n), X ~ NegativeBinomial(r, r / (r + m))
- gates: 3 days of the key's own past, n >= 10, n >= 2 m (surges only)
- `cold` under 7 days of past

The rule never reads the negative share, because a loud day is not a bad day. Sources: Bedubourg and Le Strat 2017
(negative-binomial surveillance among 21 methods); Tokars et al. 2009 (baselines of 14 to 28 days).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import nbinom

from pipeline.alerting.detection.tail import Floats
from pipeline.alerting.detection.verdicts import Verdicts
from pipeline.domain.counting import BUCKET_S

_DAYS = 14
_WARM_DAYS, _LEAST_DAYS = 7, 3
_LEAST_POSTS, _LEAST_LIFT = 10, 2.0


class VolumeDetector:
    """State: the hourly totals of the last 14 days. The caller passes every bucket once, in order."""

    def __init__(self, bucket_s: int = BUCKET_S) -> None:
        self.hour = 3600 // bucket_s
        half, day = max(1, self.hour // 2), 24 * self.hour
        shifts = sorted({-2 * half, -half, 0, half, 2 * half})
        self._per_day = len(shifts)
        self._backs = np.array([d * day + shift for d in range(1, _DAYS + 1) for shift in shifts])
        self._totals = np.zeros((int(self._backs.max()) + 1, 0), np.int32)
        self._first = np.zeros(0, np.int64)
        self._step = -1
        self._mean, self._size = np.zeros(0), np.zeros(0)
        self._old_enough = np.zeros(0, np.bool_)

    def learn(self, posts: NDArray[np.int64]) -> None:
        """Takes the last hour, int64[n_keys, >= hour], the newest bucket last; new keys come at the end."""
        self._remember(self._hour_total(posts))

    def step(self, posts: NDArray[np.int64]) -> Verdicts:
        """Scores every key at the end of the newest bucket, and learns; `observed` and `expected` are posts."""
        now = self._hour_total(posts)
        verdicts = self._verdicts(now)
        self._remember(now)
        return verdicts

    def score(self, row: int, posts: int) -> float:
        """The score that key `row` would have now with `posts` posts in the last hour."""
        here = slice(row, row + 1)
        return float(_score(np.array([posts]), self._mean[here], self._size[here], self._old_enough[here])[0])

    def _hour_total(self, posts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Begins the next bucket."""
        self._grow(len(posts))
        self._step += 1
        now: NDArray[np.int64] = posts[:, -self.hour :].sum(1)
        self._first[(self._first < 0) & (now > 0)] = self._step
        return now

    def _remember(self, now: NDArray[np.int64]) -> None:
        self._totals[self._step % len(self._totals)] = now

    def _verdicts(self, now: NDArray[np.int64]) -> Verdicts:
        # A total counts once the key is an hour old: an earlier one covers only part of an hour.
        seen = (self._step - self._backs)[:, None] >= np.where(self._first < 0, self._step, self._first) + self.hour - 1
        past = self._totals[(self._step - self._backs) % len(self._totals)] * seen
        days = seen.sum(0)
        counted = np.maximum(days, 2)
        total, squares = past.sum(0, dtype=np.float64), np.square(past, dtype=np.float64).sum(0)
        mean = np.maximum(total / counted, 0.5)
        variance = np.maximum((squares - counted * (total / counted) ** 2) / (counted - 1), mean * 1.05)
        self._mean, self._size = mean, mean * mean / (variance - mean)
        self._old_enough = days >= _LEAST_DAYS * self._per_day
        return Verdicts(
            score=_score(now, self._mean, self._size, self._old_enough),
            window=np.full(len(now), self.hour, np.int64),
            posts=now,
            observed=now.astype(np.float64),
            expected=mean,
            baseline=np.zeros(len(now)),
            cold=days < _WARM_DAYS * self._per_day,
        )

    def _grow(self, n_keys: int) -> None:
        missing = n_keys - len(self._first)
        if missing:
            self._totals = np.pad(self._totals, ((0, 0), (0, missing)))
            self._first = np.pad(self._first, (0, missing), constant_values=-1)


def _score(now: NDArray[np.int64], mean: Floats, size: Floats, old_enough: NDArray[np.bool_]) -> Floats:
    rows = np.flatnonzero(old_enough & (now >= _LEAST_POSTS) & (now >= _LEAST_LIFT * mean))
    score = np.zeros(len(now))
    tail = nbinom.sf(now[rows] - 1, size[rows], size[rows] / (size[rows] + mean[rows]))
    score[rows] = -np.log10(np.maximum(tail, 1e-300))
    return score
