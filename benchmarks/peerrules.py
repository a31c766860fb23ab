"""Rules that other systems alert by, over a history, for `detector.py`: each as a score that grows with the alarm.

An episode ends where its score stays below 2 (`episodes.Policy`), which says how each rule is scaled; `PEERS` are those
that open systems come with, and the plain binomial.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from benchmarks.simulator import BUCKET_S, DAY
from pipeline.alerting.counting.history import CountHistory
from pipeline.alerting.evaluation.backtest import ScoreHistory

Floats = NDArray[np.float64]
_HOUR = 3600 // BUCKET_S
_WEEK = 7 * DAY
#: Posts that a share is taken of, at the least.
_LEAST = 10


def last(values: NDArray[np.generic], width: int) -> Floats:
    """[keys, buckets]: the sum over the last `width` buckets, fewer at the beginning."""
    total = np.pad(np.cumsum(values.astype(np.float64), 1), ((0, 0), (1, 0)))
    ends = np.arange(1, total.shape[1])
    found: Floats = total[:, ends] - total[:, np.maximum(ends - width, 0)]
    return found


def week_share(history: CountHistory) -> Floats:
    """[keys, buckets]: the negative share of the last seven days, with 20 posts of 20 % to begin with."""
    return np.clip((last(history.negatives, _WEEK) + 4) / (last(history.posts, _WEEK) + 20), 0.005, 0.95)


class PeerRule(NamedTuple):
    """`usual` is the score at which such a rule is set up to fire where nobody calibrates it."""

    name: str
    score: Callable[[CountHistory], Floats]
    width: int
    usual: float

    def scores(self, history: CountHistory) -> ScoreHistory:
        posts, negatives = last(history.posts, self.width), last(history.negatives, self.width)
        raw = self.score(history)
        # The thresholds that a calibration tries end at 20.
        score = np.where(raw > 10, 10 + 5 * np.log10(np.maximum(raw, 10) / 10), raw)
        score[:, :_WEEK] = 0.0
        return ScoreHistory(
            score, np.full(score.shape, self.width), posts.astype(np.int64), negatives.astype(np.int64),
            np.zeros_like(score), np.zeros_like(score), np.zeros(score.shape, np.bool_),
        )  # fmt: skip


def fixed_share(history: CountHistory) -> Floats:
    """Negative share of the last two hours: 5 at 40 %; it ends below 28 %."""
    n, k = (last(a, 2 * _HOUR) for a in (history.posts, history.negatives))
    return np.where(n >= _LEAST, np.maximum(25 * (k / np.maximum(n, 1) - 0.2), 0), 0)


def deviations(history: CountHistory) -> Floats:
    """Negatives of the last hour, in standard deviations above the mean of the hours of the 14 days before."""
    k = last(history.negatives, _HOUR)
    before = np.pad(k, ((0, 0), (_HOUR, 0)))[:, :-_HOUR]
    n = np.clip(np.arange(k.shape[1]) + 1 - _HOUR, 1, 2 * _WEEK)
    mean, square = (last(a, 2 * _WEEK) / n for a in (before, before * before))
    return np.maximum(k - mean, 0) / np.sqrt(np.maximum(square - mean * mean, 1.0))


def times_the_mean(history: CountHistory) -> Floats:
    """Negatives of the last hour against the mean hour of seven days: 3 at 150 %; it ends below 117 %."""
    k = last(history.negatives, _HOUR)
    return np.maximum(3 * k / np.maximum(last(k, _WEEK) / _WEEK, 1.0) - 1.5, 0)


def ears_c2(history: CountHistory) -> Floats:
    """EARS C2 (Hutwagner et al. 2003) by the hour: seven days that ended two days ago, each at this hour of the day."""
    k = last(history.negatives, _HOUR)
    days = np.stack([np.pad(k, ((0, 0), (d * DAY, 0)))[:, : k.shape[1]] for d in range(3, 10)])
    excess: NDArray[np.float64] = np.maximum(k - days.mean(0), 0) / np.maximum(days.std(0, ddof=1), 1.0)
    return excess


def binomial(history: CountHistory) -> Floats:
    """-log10 of the binomial tail of the last hour against the share of seven days, with the gates of the rule."""
    n, k = (last(a, _HOUR) for a in (history.posts, history.negatives))
    share = week_share(history)
    score = np.zeros(k.shape)
    gate = (k >= _LEAST) & (k >= 1.5 * n * share)
    score[gate] = -binom.logsf(k[gate] - 1, n[gate], share[gate]) / np.log(10)
    return np.minimum(score, 300.0)


PEERS = (
    PeerRule("40 % in 2 h", fixed_share, 2 * _HOUR, 5.0),
    PeerRule("mean+3sd", deviations, _HOUR, 3.0),
    PeerRule("150 %", times_the_mean, _HOUR, 3.0),
    PeerRule("EARS C2", ears_c2, _HOUR, 3.0),
    PeerRule("binomial", binomial, _HOUR, 4.0),
)
