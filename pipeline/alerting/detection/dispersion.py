"""How much the negative share of each key usually varies: robust moments of its own past, pooled across keys. Pure.

Every estimate is a moment of residuals r = s - n m, where s is the sum of the scores of n posts, m the usual mean score
and V = m (1 - m). `score_model.py` has kappa and phi: a score has the variance phi V, and a share that varies with the
variance rho p (1 - p) moves the mean score by kappa rho V. Where labels are counted, s are the negatives, m is the
share p, and kappa = phi = 1.

- dispersion rho of a window W: E[r^2] = n V (phi + (n - 1) kappa rho), so
  rho_W = sum(r^2 - n V phi) / sum(n (n - 1) V kappa) (Williams 1982). Each window length has its own, because variation
  that lasts hours does not average out in a long window, as the noise of single buckets does.
- autocovariance c: E[r_W r_R] = n_W n_R V kappa c_W for the window W and the time R just before it, so
  c_W = sum(r_W r_R) / sum(n_W n_R V kappa). The counting noise cancels in the product of two separate times.
- phi itself: E[r^2 / (n V)] = phi + (n - 1) kappa rho over single buckets, a line in n whose value at n = 1 is phi
  (least squares; the posts of a bucket vary with the hour of the day).

Given R with its n_R posts and a share that is off by d, the best linear forecast of the window (Kalman's, for one
observation) is p + g d with g = c_W / (rho_R + phi / (kappa n_R)), and the dispersion of the window falls to
rho_W - c_W g.

The detector must not learn a spike as normal. Residuals are therefore cut at `cut` of their own standard deviations
(Huber 1964), windows beyond `reject` are not learned at all (Hampel 1974), and the caller leaves out episodes. The cut
alone is not enough: a spike brings posts with it, and moments weigh a window by n^2, so one crisis would outweigh ten
quiet days of a sparse key and, through the pool, of every key. The moments of the other keys weigh as much as `shrink`
average keys (empirical Bayes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.alerting.detection.score_model import Reading

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Numbers = TypeVar("Numbers", NDArray[np.int64], NDArray[np.float64])


class Forecast(NamedTuple):
    """Per window and key: posts and negatives of the window, the expected share, and the dispersion around it.

    int64, float64, float64, float64, each [windows, n_keys]. The negatives are estimated, in [0, posts].
    """

    posts: Counts
    negatives: Floats
    share: Floats
    rho: Floats


@dataclass(frozen=True, slots=True)
class Prior:
    """What the estimates assume before they have data, and how long and how strongly they keep to it.

    `half_life` is in buckets. The prior `rho` weighs as much as `steps` buckets of all keys, and the estimate over all
    keys as much as `shrink` average keys. `floor` and `ceiling` bound every rho.
    """

    half_life: int
    steps: int
    shrink: float = 1.0
    cut: float = 3.0
    reject: float = 4.0
    rho: float = 0.01
    floor: float = 0.001
    ceiling: float = 0.5


class _Moments:
    """Sums of products of residuals and of what they are divided by, float64[rows, keys], with exponential decay."""

    def __init__(self, rows: int, prior: Prior, prior_value: float) -> None:
        self._prior, self._prior_value = prior, prior_value
        self._decay = 0.5 ** (1 / prior.half_life)
        #: Products of residuals, n V (the counting noise in them), n n' V (pairs of posts), and buckets.
        self.products, self.singles, self.pairs, self.steps = (np.zeros((rows, 0)) for _ in range(4))

    def grow(self, n_keys: int) -> None:
        missing = ((0, 0), (0, n_keys - self.pairs.shape[1]))
        self.products, self.singles = np.pad(self.products, missing), np.pad(self.singles, missing)
        self.pairs, self.steps = np.pad(self.pairs, missing), np.pad(self.steps, missing)

    def add(self, products: Floats, singles: Floats, pairs: Floats, keep: NDArray[np.bool_]) -> None:
        self.products = self.products * self._decay + keep * products
        self.singles = self.singles * self._decay + keep * singles
        self.pairs = self.pairs * self._decay + keep * pairs
        self.steps = self.steps * self._decay + (keep & (pairs > 0))

    def ratio(self, reading: Reading) -> Floats:
        """(products - phi singles) / (kappa pairs).

        Each value is shrunk towards the ratio over all keys of its row, and that one towards `prior_value`.
        """
        above, below = self.products - reading.phi * self.singles, reading.kappa * self.pairs
        total = below.sum(1, keepdims=True)
        known = total > 0
        prior = self._prior.steps * total / np.where(known, self.steps.sum(1, keepdims=True), 1.0)
        everything = np.where(known, total + prior, 1.0)
        pooled = (above.sum(1, keepdims=True) + prior * self._prior_value) / everything
        weight = self._prior.shrink * everything / max(1, below.shape[1])
        estimate: Floats = np.where(known, (above + weight * pooled) / (below + weight), self._prior_value)
        return estimate


class _Scatter:
    """The squared residuals of single buckets over n V, as a line in n - 1, with exponential decay."""

    def __init__(self, prior: Prior) -> None:
        self._decay = 0.5 ** (1 / prior.half_life)
        #: Sums of 1, x, x^2, y and x y, where x = n - 1.
        self._sums = np.zeros((5, 0))

    def grow(self, n_keys: int) -> None:
        self._sums = np.pad(self._sums, ((0, 0), (0, n_keys - self._sums.shape[1])))

    def add(self, posts: Counts, scatter: Floats, keep: NDArray[np.bool_]) -> None:
        x = np.maximum(posts - 1, 0)
        self._sums = self._sums * self._decay + keep * np.array([np.ones_like(scatter), x, x * x, scatter, x * scatter])

    def at_one_post(self) -> tuple[Floats, Floats]:
        """The line's value at one post, and the standard error of its logarithm; infinite where that is unknown.

        A squared residual has about the variance of three times its squared mean (the scores of few posts are skew).
        """
        buckets, x, xx, y, xy = self._sums
        # Of buckets with one post each the mean is the value; the line goes through it with any slope.
        xx = np.where(xx > 0, xx, 1.0)
        spread = buckets * xx - x * x
        known = (buckets > 0) & (spread > 1e-9 * buckets * xx)
        counted, spread = np.where(known, buckets, 1.0), np.where(known, spread, 1.0)
        value = (xx * y - x * xy) / spread
        known &= value > 0
        value = np.where(known, value, 1.0)
        error = np.sqrt(3 * xx / spread) * y / counted / value
        return value, np.where(known, error, np.inf)


class Dispersion:
    """State of the moments. `learn` takes the newest past once per bucket; `forecast` predicts each window.

    The sums of scores that both take are negatives where labels are counted; `mean` is the usual mean score.
    """

    def __init__(self, windows: Sequence[int], recent: int, prior: Prior) -> None:
        """`windows` are lengths in buckets; the forecast of a window reads the `recent` buckets before it."""
        self._prior = prior
        self._edges = sorted({*windows, *(w + recent for w in windows), recent})
        self._inner = [self._edges.index(w) for w in windows]
        self._outer = [self._edges.index(w + recent) for w in windows]
        self._last = self._edges.index(recent)
        # One row per window, and one for the time before.
        self._rho = _Moments(len(windows) + 1, prior, prior.rho)
        self._autocovariance = _Moments(len(windows), prior, 0.0)
        self._scatter = _Scatter(prior)

    def grow(self, n_keys: int) -> None:
        """Makes room for new keys."""
        self._rho.grow(n_keys)
        self._autocovariance.grow(n_keys)
        self._scatter.grow(n_keys)

    def phi(self) -> tuple[Floats, Floats]:
        """The variance of a score over m (1 - m) per key as its past shows it, and the standard error of its logarithm.

        The error is infinite where the past shows nothing.
        """
        return self._scatter.at_one_post()

    def learn(self, posts: Counts, sums: Floats, mean: Floats, reading: Reading, keep: NDArray[np.bool_]) -> None:
        """Learns the keys of `keep` from the windows that end with the last column of the counts.

        The counts are [n_keys, >= longest window + recent].
        """
        rho = self._bounded_rho(reading)
        n, s = self._totals(posts), self._totals(sums)
        ends, variance = [*self._inner, self._last], mean * (1 - mean)
        r, near = self._residual(n[ends], s[ends], mean, reading, rho)
        n_before, r_before, near_before = self._before(n, s, mean, reading, rho[-1])
        one = n[ends] * variance
        self._rho.add(r * r, one, np.maximum(n[ends] - 1, 0) * one, keep & near)
        windows = slice(0, len(self._inner))
        self._autocovariance.add(
            r[windows] * r_before,
            np.zeros_like(n_before, np.float64),
            n_before * one[windows],
            keep & near[windows] & near_before,
        )
        newest, own = posts[:, -1], self._residual(posts[:, -1], sums[:, -1], mean, reading, rho[0])
        self._scatter.add(newest, own[0] ** 2 / (np.maximum(newest, 1) * variance), keep & own[1] & (newest > 0))

    def forecast(self, posts: Counts, sums: Floats, mean: Floats, reading: Reading) -> Forecast:
        """Forecasts each window that ends with the last column, from the `recent` columns before it."""
        rho = self._bounded_rho(reading)
        of_window, of_before = rho[:-1], rho[-1]
        n_to, s_to = self._totals(posts), self._totals(sums)
        n, r, _ = self._before(n_to, s_to, mean, reading, of_before)
        autocovariance = np.clip(self._autocovariance.ratio(reading), 0.0, 0.95 * np.sqrt(of_window * of_before))
        counted = np.maximum(n, 1)
        gain = autocovariance / (of_before + 1 / (counted * reading.worth)) * (n > 0)
        expected = np.clip(reading.share + gain * r / (counted * reading.slope), 0.005, 0.95)
        left = np.maximum(of_window - autocovariance * gain, self._prior.floor)
        within = n_to[self._inner]
        negatives = np.clip(reading.negatives(within, s_to[self._inner]), 0, within)
        return Forecast(within, negatives, expected, left)

    def _bounded_rho(self, reading: Reading) -> Floats:
        bounded: Floats = np.clip(self._rho.ratio(reading), self._prior.floor, self._prior.ceiling)
        return bounded

    def _totals(self, counts: Numbers) -> Numbers:
        """[edges, n_keys]: the totals from each edge to the last column; each column is read once."""
        starts = [counts.shape[1] - edge for edge in reversed(self._edges)]
        between = np.add.reduceat(counts, starts, axis=1)
        totals: Numbers = np.ascontiguousarray(between[:, ::-1].cumsum(1).T)
        return totals

    def _before(
        self, n: Counts, s: Floats, mean: Floats, reading: Reading, rho: Floats
    ) -> tuple[Counts, Floats, NDArray[np.bool_]]:
        """Posts n of the time before each window, their residuals r, and whether each is near enough to learn."""
        n_before, s_before = n[self._outer] - n[self._inner], s[self._outer] - s[self._inner]
        return n_before, *self._residual(n_before, s_before, mean, reading, rho)

    def _residual(
        self, n: Counts, s: Floats, mean: Floats, reading: Reading, rho: Floats
    ) -> tuple[Floats, NDArray[np.bool_]]:
        """Residuals r = s - n m, cut; and whether each is near enough to the mean to be learned."""
        scatter = reading.phi + np.maximum(n - 1, 0) * reading.kappa * np.maximum(rho, 2e-3)
        sigma = np.sqrt(n * mean * (1 - mean) * scatter)
        r, cut = s - n * mean, self._prior.cut * sigma
        return np.clip(r, -cut, cut), np.abs(r) <= self._prior.reject * sigma
