"""Histories with known spikes, made by processes that are not the detector's own model.

Buckets of 15 minutes, base share 20 %, a daily and a weekly cycle of volume, a share that drifts, a neutral burst of
three times the volume per key-week. A spike multiplies the negatives for 6 hours: the posts grow with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from pipeline.alerting.history import History

START = datetime(2026, 1, 5, tzinfo=UTC)
BUCKET_S = 900
DAY = 86_400 // BUCKET_S
SPIKE = 6 * 3600 // BUCKET_S
NOISES = ("beta-binomial", "heavy tails", "2-hour swings")


@dataclass(frozen=True)
class Simulated:
    """A history and the bucket in which each key's spike begins; -1 where it has none."""

    history: History
    spikes: NDArray[np.int64]

    def begin(self, key: int) -> datetime:
        return self.history.start + timedelta(seconds=int(self.spikes[key]) * BUCKET_S)


def simulate(
    noise: str, posts_per_h: float, times: float, seed: int, *, keys: int = 30, weeks: int = 5, share: float = 0.2
) -> Simulated:
    """`times` 1 makes a quiet history; else each key has one spike in the last two weeks."""
    rng = np.random.default_rng([seed, NOISES.index(noise), round(posts_per_h), round(10 * times)])
    buckets = weeks * 7 * DAY
    clock = np.arange(buckets)
    cycle = 1 + 0.5 * np.sin(2 * np.pi * (clock / DAY - 0.3)) + 0.15 * np.sin(2 * np.pi * clock / (7 * DAY))
    rate = np.broadcast_to(posts_per_h * BUCKET_S / 3600 * cycle, (keys, buckets)).copy()
    for key in range(keys):
        for week in range(weeks):
            at = week * 7 * DAY + rng.integers(0, 7 * DAY - 16)
            rate[key, at : at + 12] *= 3
    posts = rng.poisson(rate)
    logit = np.log(share / (1 - share)) + np.cumsum(rng.normal(0, 0.004, (keys, buckets)), axis=1)
    negatives = rng.binomial(posts, _shares(noise, logit, rng))
    spikes = np.full(keys, -1, np.int64)
    if times > 1:
        spikes = rng.integers((weeks - 2) * 7 * DAY, buckets - 2 * DAY, keys)
        for key, at in enumerate(spikes):
            more = rng.poisson(negatives[key, at : at + SPIKE] * (times - 1))
            negatives[key, at : at + SPIKE] += more
            posts[key, at : at + SPIKE] += more
    names = tuple(f"key{i:03}" for i in range(keys))
    return Simulated(History(names, START, BUCKET_S, posts, negatives), spikes)


def _shares(noise: str, logit: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    mean = 1 / (1 + np.exp(-logit))
    if noise == "beta-binomial":
        return rng.beta(mean * 99, (1 - mean) * 99)
    if noise == "heavy tails":
        return np.asarray(1 / (1 + np.exp(-(logit + 0.15 * rng.standard_t(3, logit.shape)))))
    keep = np.exp(-BUCKET_S / 7200)
    swing = np.zeros(logit.shape)
    shock = rng.normal(0, 0.35 * np.sqrt(1 - keep**2), logit.shape)
    for b in range(1, logit.shape[1]):
        swing[:, b] = keep * swing[:, b - 1] + shock[:, b]
    return np.asarray(1 / (1 + np.exp(-(logit + swing))))
