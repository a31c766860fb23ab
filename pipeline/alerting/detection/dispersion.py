"""How much the share of each key usually swings: robust moments of its own past, shared across keys. Pure.

Everything is a moment of residuals r = k - n p (k negatives of n posts, p the baseline share, v = p (1 - p)):

- spread of a window W: E[r^2] = n v (1 + (n - 1) rho), so rho_W = sum(r^2 - n v) / sum(n (n - 1) v) (Williams 1982).
  One per window length: swings that last hours do not average out in a long window, bucket noise does.
- memory: E[r_W r_R] = n_W n_R v c_W for the window W and the time R just before it, so
  c_W = sum(r_W r_R) / sum(n_W n_R v); counting noise cancels in the product of two separate times.

Given R with its n_R posts and their share off by d, the best linear forecast of the window (Kalman's, for one
observation) is p + g d with g = c_W / (rho_R + 1/n_R), and its spread falls to rho_W - c_W g.

A spike must not teach what is usual: residuals are cut at `cut` of their own standard deviations (Huber 1964), those
beyond `reject` teach nothing (Hampel 1974), and the caller leaves out episodes. The cut alone is not enough: a spike
brings posts with it, and moments weigh a window by n^2, so that one crisis outweighs ten quiet days of a sparse key
and, pooled, of every key. A key's moments are worth `shrink` average keys of the others' (empirical Bayes).
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
    """Per window and key: posts and negatives of the window, the share to expect of it, and the spread (rho) of that.

    int64, int64, float64, float64, each [windows, n_keys].
    """

    posts: Counts
    negatives: Counts
    share: Floats
    spread: Floats


@dataclass(frozen=True, slots=True)
class Usual:
    """The constants of the estimate. `prior_steps`: so many steps of all keys the typical spread is worth."""

    half_life: int
    prior_steps: int
    shrink: float = 1.0
    cut: float = 3.0
    reject: float = 4.0
    typical: float = 0.01
    floor: float = 0.001
    ceiling: float = 0.5


class _Ratios:
    """sum(above) / sum(below), float64[rows, keys], decayed; shrunk to all keys of a row, and to `typical` at first."""

    def __init__(self, rows: int, usual: Usual, typical: float) -> None:
        self._usual, self._typical = usual, typical
        self._decay = 0.5 ** (1 / usual.half_life)
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
        usual, total = self._usual, self._below.sum(1, keepdims=True)
        known = total > 0
        prior = usual.prior_steps * total / np.where(known, self._steps.sum(1, keepdims=True), 1.0)
        everything = np.where(known, total + prior, 1.0)
        pooled = (self._above.sum(1, keepdims=True) + prior * self._typical) / everything
        weight = usual.shrink * everything / max(1, self._above.shape[1])
        estimate: Floats = np.where(known, (self._above + weight * pooled) / (self._below + weight), self._typical)
        return estimate


class Swings:
    """State of the moments; `learn` takes the newest past once a bucket, `forecast` says what to expect of windows."""

    def __init__(self, windows: Sequence[int], recent: int, usual: Usual) -> None:
        """Lengths in buckets: of the windows, and of the time before a window that it is forecast from."""
        self._usual = usual
        self._edges = sorted({*windows, *(w + recent for w in windows), recent})
        self._inner = [self._edges.index(w) for w in windows]
        self._outer = [self._edges.index(w + recent) for w in windows]
        self._last = self._edges.index(recent)
        # One row per window, and one for the time before.
        self._spread = _Ratios(len(windows) + 1, usual, usual.typical)
        self._memory = _Ratios(len(windows), usual, 0.0)

    def grow(self, n_keys: int) -> None:
        """Makes room for new keys."""
        self._spread.grow(n_keys)
        self._memory.grow(n_keys)

    def learn(self, posts: Counts, negatives: Counts, share: Floats, keep: NDArray[np.bool_]) -> None:
        """Windows that end with the last column of int64[n_keys, >= longest + recent], for the keys of `keep`."""
        spread = self._spreads()
        n, k = self._sums(posts), self._sums(negatives)
        ends = [*self._inner, self._last]
        variance = n[ends] * share * (1 - share)
        r, near = self._residual(n[ends], k[ends], share, spread)
        n_before, r_before, near_before = self._before(n, k, share, spread[-1])
        self._spread.add(r * r - variance, np.maximum(n[ends] - 1, 0) * variance, keep & near)
        self._memory.add(r[:-1] * r_before, n_before * variance[:-1], keep & near[:-1] & near_before)

    def forecast(self, posts: Counts, negatives: Counts, share: Floats) -> Forecast:
        """What to expect of each window that ends with the last column, from the `recent` columns before it."""
        spread = self._spreads()
        windows, before = spread[:-1], spread[-1]
        sums, negative = self._sums(posts), self._sums(negatives)
        n, r, _ = self._before(sums, negative, share, before)
        memory = np.clip(self._memory.value(), 0.0, 0.95 * np.sqrt(windows * before))
        counted = np.maximum(n, 1)
        gain = memory / (before + 1 / counted) * (n > 0)
        expected = np.clip(share + gain * r / counted, 0.005, 0.95)
        left = np.maximum(windows - memory * gain, self._usual.floor)
        return Forecast(sums[self._inner], negative[self._inner], expected, left)

    def _spreads(self) -> Floats:
        bounded: Floats = np.clip(self._spread.value(), self._usual.floor, self._usual.ceiling)
        return bounded

    def _sums(self, counts: Counts) -> Counts:
        """int64[edges, n_keys]: what the last so many columns hold; each column is read once."""
        starts = [counts.shape[1] - edge for edge in reversed(self._edges)]
        between = np.add.reduceat(counts, starts, axis=1)
        return np.ascontiguousarray(between[:, ::-1].cumsum(1).T)

    def _before(self, n: Counts, k: Counts, share: Floats, spread: Floats) -> tuple[Counts, Floats, NDArray[np.bool_]]:
        """Posts of the time before each window, and their residuals."""
        n_before, k_before = n[self._outer] - n[self._inner], k[self._outer] - k[self._inner]
        return n_before, *self._residual(n_before, k_before, share, spread)

    def _residual(self, n: Counts, k: Counts, share: Floats, spread: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Residuals, cut; and whether each is near enough to the share to be learned from."""
        sigma = np.sqrt(n * share * (1 - share) * (1 + np.maximum(n - 1, 0) * np.maximum(spread, 2e-3)))
        r, cut = k - n * share, self._usual.cut * sigma
        return np.clip(r, -cut, cut), np.abs(r) <= self._usual.reject * sigma
