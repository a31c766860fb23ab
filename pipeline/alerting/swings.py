"""How much the share of each key usually swings: robust moments of its own past, shared across keys. Pure.

Everything is a moment of residuals r = k - n p (k negatives of n posts, p the baseline share, v = p (1 - p)):

- spread of a window W: E[r^2] = n v (1 + (n - 1) rho), so rho_W = sum(r^2 - n v) / sum(n (n - 1) v) (Williams 1982).
  One per window length: swings that last hours do not average out in a long window, bucket noise does.
- memory: E[r_W r_R] = n_W n_R v c_W for the window W and the time R just before it, so
  c_W = sum(r_W r_R) / sum(n_W n_R v); counting noise cancels in the product of two separate times.

Given R with its n_R posts and their share off by d, the best linear forecast of the window (Kalman's, for one
observation) is p + g d with g = c_W / (rho_R + 1/n_R), and its spread falls to rho_W - c_W g.

A spike must not teach what is usual: residuals are cut at `cut` of their own standard deviations (Huber 1964), and
the caller leaves out episodes. A key's moments are worth `shrink` average keys of the others' (empirical Bayes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Usual:
    """The constants of the estimate. `prior_steps`: so many steps of all keys the typical spread is worth."""

    half_life: int
    prior_steps: int
    shrink: float = 1.0
    cut: float = 3.0
    typical: float = 0.01
    floor: float = 0.001
    ceiling: float = 0.5


class _Ratio:
    """sum(above) / sum(below) per key, decayed, shrunk to all keys' together and to `typical` at the start."""

    def __init__(self, usual: Usual, typical: float) -> None:
        self._usual, self._typical = usual, typical
        self._decay = 0.5 ** (1 / usual.half_life)
        self._above, self._below, self._steps = np.zeros(0), np.zeros(0), np.zeros(0)

    def grow(self, n_keys: int) -> None:
        missing = n_keys - len(self._above)
        self._above, self._below, self._steps = (
            np.pad(a, (0, missing)) for a in (self._above, self._below, self._steps)
        )

    def add(self, above: Floats, below: Floats, keep: NDArray[np.bool_]) -> None:
        self._above = self._above * self._decay + keep * above
        self._below = self._below * self._decay + keep * below
        self._steps = self._steps * self._decay + (keep & (below > 0))

    def value(self) -> Floats:
        usual, total = self._usual, self._below.sum()
        if not total:
            return np.full(len(self._above), self._typical)
        prior = usual.prior_steps * total / self._steps.sum()
        pooled = (self._above.sum() + prior * self._typical) / (total + prior)
        weight = usual.shrink * (total + prior) / len(self._above)
        estimate: Floats = (self._above + weight * pooled) / (self._below + weight)
        return estimate


class Swings:
    """State of the moments; `learn` takes the newest past once a bucket, `forecast` says what to expect of a window."""

    def __init__(self, windows: Sequence[int], recent: int, usual: Usual) -> None:
        """Lengths in buckets: of the windows, and of the time before a window that it is forecast from."""
        self._recent, self._usual = recent, usual
        self._spread = {w: _Ratio(usual, usual.typical) for w in windows}
        self._spread_before = _Ratio(usual, usual.typical)
        self._memory = {w: _Ratio(usual, 0.0) for w in windows}

    def grow(self, n_keys: int) -> None:
        """Makes room for new keys."""
        for ratio in (*self._spread.values(), *self._memory.values(), self._spread_before):
            ratio.grow(n_keys)

    def learn(self, posts: Counts, negatives: Counts, share: Floats, keep: NDArray[np.bool_]) -> None:
        """Windows that end with the last column of int64[n_keys, >= longest + recent], for the keys of `keep`."""
        before = self._bounded(self._spread_before)
        for window, spread in self._spread.items():
            n, r = self._residual(posts[:, -window:], negatives[:, -window:], share, self._bounded(spread))
            variance = n * share * (1 - share)
            spread.add(r * r - variance, np.maximum(n - 1, 0) * variance, keep)
            columns = slice(posts.shape[1] - window - self._recent, posts.shape[1] - window)
            n_before, r_before = self._residual(posts[:, columns], negatives[:, columns], share, before)
            self._memory[window].add(r * r_before, n_before * variance, keep)
        n, r = self._residual(posts[:, -self._recent :], negatives[:, -self._recent :], share, before)
        variance = n * share * (1 - share)
        self._spread_before.add(r * r - variance, np.maximum(n - 1, 0) * variance, keep)

    def forecast(self, posts: Counts, negatives: Counts, share: Floats, window: int) -> tuple[Floats, Floats]:
        """Expected share and spread (rho) of the last `window` columns, from the `recent` ones before them."""
        columns = slice(posts.shape[1] - window - self._recent, posts.shape[1] - window)
        before, spread = self._bounded(self._spread_before), self._bounded(self._spread[window])
        n, r = self._residual(posts[:, columns], negatives[:, columns], share, before)
        memory = np.clip(self._memory[window].value(), 0.0, 0.95 * np.sqrt(spread * before))
        seen = n > 0
        counted = np.maximum(n, 1)
        gain = memory / (before + 1 / counted) * seen
        expected: Floats = np.clip(share + gain * r / counted, 0.005, 0.95)
        return expected, np.maximum(spread - memory * gain, self._usual.floor)

    def _bounded(self, ratio: _Ratio) -> Floats:
        bounded: Floats = np.clip(ratio.value(), self._usual.floor, self._usual.ceiling)
        return bounded

    def _residual(self, posts: Counts, negatives: Counts, share: Floats, spread: Floats) -> tuple[Floats, Floats]:
        n = posts.sum(1).astype(np.float64)
        sigma = np.sqrt(n * share * (1 - share) * (1 + np.maximum(n - 1, 0) * np.maximum(spread, 2e-3)))
        return n, np.clip(negatives.sum(1) - n * share, -self._usual.cut * sigma, self._usual.cut * sigma)
