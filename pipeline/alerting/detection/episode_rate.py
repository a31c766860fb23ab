"""How well a rate of episodes is known: few episodes are rare events, and they come in clusters. Pure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

#: The share of intervals that hold the true rate.
LEVEL = 0.8
#: Clusters that are needed to tell how much their counts vary.
_LEAST_CLUSTERS = 8


class RateInterval(NamedTuple):
    """The ends of the 80 % interval of a rate per key-week."""

    low: float
    high: float


def rate_interval(episodes: int, key_weeks: float, clustering: float = 1.0) -> RateInterval:
    """The interval of the rate if `episodes` were seen in `key_weeks`.

    It is the exact one of a Poisson count (Garwood 1936). With `clustering` c, n episodes say as much as n / c separate
    ones (quasi-Poisson).

    >>> [round(end, 3) for end in rate_interval(15, 150.0)]
    [0.069, 0.142]
    """
    tail, n = (1 - LEVEL) / 2, episodes / clustering
    low = clustering * float(gammaincinv(n, tail)) if episodes else 0.0
    return RateInterval(low / key_weeks, clustering * float(gammaincinv(n + 1, 1 - tail)) / key_weeks)


def clustering(*counts: NDArray[np.int64]) -> float:
    """How many times as much the numbers of episodes vary between clusters as they would by chance, at least 1.

    Each of `counts` has the episodes of clusters of one kind (of each key, of each week); the worst kind counts, except
    those with fewer than eight clusters: a variance of a few weeks is hardly known.

    >>> clustering(np.array([0, 1, 0, 1, 1, 0, 1, 0])), clustering(np.array([8, 0, 0, 0, 0, 0, 0, 0]))
    (1.0, 8.0)
    """
    known = [c for c in counts if len(c) >= _LEAST_CLUSTERS and c.any()]
    return max([1.0, *(float(c.var(ddof=1) / c.mean()) for c in known)])
