"""What the rules read and what they find: counts per key, and verdicts per key and window. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class KeyCounts(NamedTuple):
    """Posts, labelled negatives and sums of scores, [n_keys, buckets] each, the newest bucket last.

    `model[key]` is the number of the score model that reads the key.
    """

    posts: NDArray[np.int64]
    negatives: NDArray[np.int64]
    score_sums: Floats
    model: NDArray[np.int64]

    def between(self, first: int, last: int) -> KeyCounts:
        """The buckets from number `first` to before `last`."""
        buckets = slice(first, last)
        return KeyCounts(self.posts[:, buckets], self.negatives[:, buckets], self.score_sums[:, buckets], self.model)


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Per key, of the window with the highest score; the score is 0 where a gate is shut.

    `observed` and `expected` are negatives here, estimated or counted, and posts in the volume lane.
    """

    score: Floats
    window: NDArray[np.int64]
    posts: NDArray[np.int64]
    observed: Floats
    expected: Floats
    baseline: Floats
    cold: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class WindowVerdict:
    """One window of one key; `window` is in buckets, `score` is the one that the window has with every gate open.

    `few`, `flat` and `cold` mark the gates that are shut: too few negatives, too little lift, too little for a key
    younger than a week. `counted` are the posts that are labelled negative.
    """

    window: int
    posts: int
    negatives: float
    counted: int
    expected: float
    rho: float
    score: float
    few: bool
    flat: bool
    cold: bool


def best_window(windows: Sequence[WindowVerdict]) -> WindowVerdict:
    """The window with the highest score before gates; of equals the longest."""
    return max(windows, key=lambda window: (window.score, window.window))


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the estimated negatives of one window rest on.

    negatives = (sum of scores - posts * `other_mean`) / (`negative_mean` - `other_mean`). `counted` are the posts that
    are labelled negative, `share_low` and `share_high` the ends of the 80 % interval of the share.
    """

    counted: int
    share_low: float
    share_high: float
    negative_mean: float
    other_mean: float

    def negatives(self, posts: NDArray[np.int64], score_sums: Floats) -> Floats:
        """The estimated negatives of posts with these sums of scores."""
        estimated: Floats = (score_sums - posts * self.other_mean) / (self.negative_mean - self.other_mean)
        return estimated
