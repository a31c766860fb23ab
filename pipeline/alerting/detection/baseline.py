"""The usual mean score of each key: an exponentially weighted mean, shrunk towards that of all keys. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.alerting.detection.score_model import HIGHEST, LOWEST

Floats = NDArray[np.float64]


class Baseline:
    """Weighted totals of each key, and its mean score and share of negative labels, float64[n_keys]."""

    def __init__(self, half_life: int, prior_weight: float, n_models: int) -> None:
        """`half_life` is in buckets; the mean over all keys with the same score model weighs `prior_weight` posts."""
        self._decay = 0.5 ** (1 / half_life)
        self._prior_weight, self._n_models = prior_weight, n_models
        self.posts, self._sums, self._negatives = (np.zeros(0) for _ in range(3))
        self.mean, self.called = np.zeros(0), np.zeros(0)

    def grow(self, model: NDArray[np.int64]) -> None:
        """Makes room for new keys."""
        missing = (0, len(model) - len(self.posts))
        self.posts, self._sums = np.pad(self.posts, missing), np.pad(self._sums, missing)
        self._negatives = np.pad(self._negatives, missing)
        self._update(model)

    def learn(
        self,
        posts: NDArray[np.int64],
        sums: Floats,
        negatives: NDArray[np.int64],
        model: NDArray[np.int64],
        keep: NDArray[np.bool_],
    ) -> None:
        """Takes one bucket of the keys of `keep`."""
        self.posts = self.posts * self._decay + keep * posts
        self._sums = self._sums * self._decay + keep * sums
        self._negatives = self._negatives * self._decay + keep * negatives
        self._update(model)

    def _update(self, model: NDArray[np.int64]) -> None:
        self.mean = np.clip(self._shrunk(self._sums, model), LOWEST, HIGHEST)
        self.called = self._shrunk(self._negatives, model)

    def _shrunk(self, totals: Floats, model: NDArray[np.int64]) -> Floats:
        """The mean of each key, shrunk towards the mean over all keys with the same score model."""
        above, below = (np.bincount(model, values, self._n_models) for values in (totals, self.posts))
        everywhere = np.where(below > 0, above / np.where(below > 0, below, 1.0), 0.2)[model]
        shrunk: Floats = (totals + self._prior_weight * everywhere) / (self.posts + self._prior_weight)
        return shrunk
