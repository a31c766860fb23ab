"""How much the negative share of each key usually varies: robust moments of its own past, pooled across keys. Pure.

Every estimate is a moment of residuals r = k - n p (k negatives of n posts, p the baseline share, v = p (1 - p)):

- dispersion rho of a window W: E[r^2] = n v (1 + (n - 1) rho), so rho_W = sum(r^2 - n v) / sum(n (n - 1) v)
  (Williams 1982). Each window length has its own, because variation that lasts hours does not average out in a long
  window, as the noise of single buckets does.
- autocovariance c: E[r_W r_R] = n_W n_R v c_W for the window W and the time R just before it, so
  c_W = sum(r_W r_R) / sum(n_W n_R v). The counting noise cancels in the product of two separate times.

Given R with its n_R posts and a share that is off by d, the best linear forecast of the window (Kalman's, for one
observation) is p + g d with g = c_W / (rho_R + 1/n_R), and the dispersion of the window falls to rho_W - c_W g.

The detector must not learn a spike as normal. Residuals are therefore cut at `cut` of their own standard deviations
(Huber 1964), windows beyond `reject` are not learned at all (Hampel 1974), and the caller leaves out episodes. The cut
alone is not enough: a spike brings posts with it, and moments weigh a window by n^2, so one crisis would outweigh ten
quiet days of a sparse key and, through the pool, of every key. The moments of the other keys weigh as much as `shrink`
average keys (empirical Bayes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


class Forecast(NamedTuple):
    """Per window and key: posts and negatives of the window, the expected share, and the dispersion around it.

    int64, int64, float64, float64, each [windows, n_keys].
    """

    posts: Counts
    negatives: Counts
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


class _Ratios:
    """sum(above) / sum(below), float64[rows, keys], with exponential decay.

    Each value is shrunk towards the ratio over all keys of its row, and that one towards `prior_value`.
    """

    def __init__(self, rows: int, prior: Prior, prior_value: float) -> None:
        self._prior, self._prior_value = prior, prior_value
        self._decay = 0.5 ** (1 / prior.half_life)
        self._above, self._below, self._steps = (np.zeros((rows, 0)) for _ in range(3))

    def grow(self, n_keys: int) -> None:
        missing = n_keys - self._above.shape[1]
        self._above, self._below, self._steps = (
            np.pad(a, ((0, 0), (0, missing))) for a in (self._above, self._below, self._steps)
        )

    def add(self, above: Floats, below: Floats, keep: NDArray[np.bool_]) -> None:
        self._above = self._above * self._decay + keep * above
        self._below = self._below * self._decay + keep * below
        self._steps = self._steps * self._decay + (keep & (below > 0))

    def value(self) -> Floats:
        total = self._below.sum(1, keepdims=True)
        known = total > 0
        prior = self._prior.steps * total / np.where(known, self._steps.sum(1, keepdims=True), 1.0)
        everything = np.where(known, total + prior, 1.0)
        pooled = (self._above.sum(1, keepdims=True) + prior * self._prior_value) / everything
        weight = self._prior.shrink * everything / max(1, self._above.shape[1])
        estimate: Floats = np.where(known, (self._above + weight * pooled) / (self._below + weight), self._prior_value)
        return estimate


class Dispersion:
    """State of the moments. `learn` takes the newest past once per bucket; `forecast` predicts each window."""

    def __init__(self, windows: Sequence[int], recent: int, prior: Prior) -> None:
        """`windows` are lengths in buckets; the forecast of a window reads the `recent` buckets before it."""
        self._prior = prior
        self._edges = sorted({*windows, *(w + recent for w in windows), recent})
        self._inner = [self._edges.index(w) for w in windows]
        self._outer = [self._edges.index(w + recent) for w in windows]
        self._last = self._edges.index(recent)
        # One row per window, and one for the time before.
        self._rho = _Ratios(len(windows) + 1, prior, prior.rho)
        self._autocovariance = _Ratios(len(windows), prior, 0.0)

    def grow(self, n_keys: int) -> None:
        """Makes room for new keys."""
        self._rho.grow(n_keys)
        self._autocovariance.grow(n_keys)

    def learn(self, posts: Counts, negatives: Counts, share: Floats, keep: NDArray[np.bool_]) -> None:
        """Learns the keys of `keep` from the windows that end with the last column of the counts.

        The counts are int64[n_keys, >= longest window + recent].
        """
        rho = self._bounded_rho()
        n, k = self._sums(posts), self._sums(negatives)
        ends = [*self._inner, self._last]
        variance = n[ends] * share * (1 - share)
        r, near = self._residual(n[ends], k[ends], share, rho)
        n_before, r_before, near_before = self._before(n, k, share, rho[-1])
        self._rho.add(r * r - variance, np.maximum(n[ends] - 1, 0) * variance, keep & near)
        self._autocovariance.add(r[:-1] * r_before, n_before * variance[:-1], keep & near[:-1] & near_before)

    def forecast(self, posts: Counts, negatives: Counts, share: Floats) -> Forecast:
        """Forecasts each window that ends with the last column, from the `recent` columns before it."""
        rho = self._bounded_rho()
        of_window, of_before = rho[:-1], rho[-1]
        posts_to, negatives_to = self._sums(posts), self._sums(negatives)
        n, r, _ = self._before(posts_to, negatives_to, share, of_before)
        autocovariance = np.clip(self._autocovariance.value(), 0.0, 0.95 * np.sqrt(of_window * of_before))
        counted = np.maximum(n, 1)
        gain = autocovariance / (of_before + 1 / counted) * (n > 0)
        expected = np.clip(share + gain * r / counted, 0.005, 0.95)
        left = np.maximum(of_window - autocovariance * gain, self._prior.floor)
        return Forecast(posts_to[self._inner], negatives_to[self._inner], expected, left)

    def _bounded_rho(self) -> Floats:
        bounded: Floats = np.clip(self._rho.value(), self._prior.floor, self._prior.ceiling)
        return bounded

    def _sums(self, counts: Counts) -> Counts:
        """int64[edges, n_keys]: the totals from each edge to the last column; each column is read once."""
        starts = [counts.shape[1] - edge for edge in reversed(self._edges)]
        between = np.add.reduceat(counts, starts, axis=1)
        return np.ascontiguousarray(between[:, ::-1].cumsum(1).T)

    def _before(self, n: Counts, k: Counts, share: Floats, rho: Floats) -> tuple[Counts, Floats, NDArray[np.bool_]]:
        """Posts n of the time before each window, their residuals r, and whether each is near enough to learn."""
        n_before, k_before = n[self._outer] - n[self._inner], k[self._outer] - k[self._inner]
        return n_before, *self._residual(n_before, k_before, share, rho)

    def _residual(self, n: Counts, k: Counts, share: Floats, rho: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Residuals r = k - n p, cut; and whether each is near enough to the share to be learned."""
        sigma = np.sqrt(n * share * (1 - share) * (1 + np.maximum(n - 1, 0) * np.maximum(rho, 2e-3)))
        r, cut = k - n * share, self._prior.cut * sigma
        return np.clip(r, -cut, cut), np.abs(r) <= self._prior.reject * sigma
