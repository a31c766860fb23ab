"""Histories with known spikes, made by processes that are not the detector's own model.

Buckets of 15 minutes, a daily and a weekly cycle of volume, a share that drifts, a neutral burst of three times the
volume per key-week. A spike multiplies the negatives for 6 hours, most in the middle: the posts grow with them. The
strengths of the noise are those at which the plain baseline of `detector.py` finds about what is published of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.alerting.counting.history import CountHistory
from pipeline.domain.counting import Cell
from pipeline.domain.states import StateKey, T
from pipeline.domain.voices import VoicePost

START = datetime(2026, 1, 5, tzinfo=UTC)
BUCKET_S = 900
DAY = 86_400 // BUCKET_S
SPIKE = 6 * 3600 // BUCKET_S
NOISES = ("beta-binomial", "heavy tails", "2-hour swings")
#: Of the beta distribution; of Student's t on the logit; of the swings on the logit, and how much is left a bucket on.
CONCENTRATION, TAILS, SWING, KEEP = 49, 0.25, 0.4, float(np.exp(-BUCKET_S / 7200))
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Process:
    """How posts come about. `posts_per_h` on average; `share` negative at first.

    `night`: hardly any posts at night. `step`: the spike is whole from its first minute. `reposts`: share of posts
    that come in clumps of about five with one label. `misread`: the classifier misses a quarter of the negatives and
    calls 7 % of the others negative.
    """

    noise: str
    posts_per_h: float
    share: float = 0.2
    night: bool = False
    step: bool = False
    reposts: float = 0.0
    misread: bool = False

    @property
    def name(self) -> str:
        kinds = {"night": self.night, "step": self.step, "reposts": self.reposts, "misread": self.misread}
        kinds[f"share {self.share:.0%}"] = self.share != 0.2
        return ", ".join([self.noise, *(k for k, v in kinds.items() if v)])


@dataclass(frozen=True)
class Simulated:
    """A history, the bucket in which each key's spike begins (-1 where it has none), and its share without noise.

    `negatives` are the true ones; those of the history may be read by a model.
    """

    history: CountHistory
    spikes: Counts
    usual: Floats
    negatives: Counts

    def begin(self, key: int) -> datetime:
        return self.history.start + timedelta(seconds=int(self.spikes[key]) * BUCKET_S)


def simulate(
    process: Process,
    times: float,
    seed: int,
    *,
    keys: int = 30,
    weeks: int = 5,
    read: Callable[[int, Counts, Counts], tuple[Counts, Floats]] | None = None,
) -> Simulated:
    """`times` 1 makes a quiet history; else each key has one spike in the last two weeks.

    `read(key, posts, negatives)` says how many of a key's posts a classifier calls negative, bucket by bucket, and the
    sums of their scores.
    """
    words = [seed, NOISES.index(process.noise), round(process.posts_per_h), round(10 * times)]
    rng = np.random.default_rng([*words, *process.name.encode()])
    buckets = weeks * 7 * DAY
    posts = rng.poisson(_rates(process, keys, buckets, rng))
    logit = np.log(process.share / (1 - process.share)) + np.cumsum(rng.normal(0, 0.004, (keys, buckets)), axis=1)
    share = _shares(process.noise, logit, rng)
    negatives = rng.binomial(posts, share)
    if process.reposts:
        clumps = rng.binomial(posts, process.reposts / 5)
        negative = rng.binomial(clumps, share)
        posts, negatives = posts + 5 * clumps, negatives + 5 * negative
    spikes = np.full(keys, -1, np.int64)
    if times > 1:
        spikes = rng.integers((weeks - 2) * 7 * DAY, buckets - 2 * DAY, keys)
        profile = profile_of(process)
        for key, at in enumerate(spikes):
            window = slice(at, at + SPIKE)
            more = rng.poisson(posts[key, window] * share[key, window] * (times - 1) * profile)
            negatives[key, window] += more
            posts[key, window] += more
    if process.misread:
        negatives = rng.binomial(negatives, 0.75) + rng.binomial(posts - negatives, 0.07)
    names, called, sums = tuple(f"key{i:03}" for i in range(keys)), negatives, None
    if read:
        called, sums = map(np.stack, zip(*(read(k, posts[k], negatives[k]) for k in range(keys)), strict=True))
    history = CountHistory(names, START, BUCKET_S, posts, called, score_sums=sums)
    return Simulated(history, spikes, 1 / (1 + np.exp(-logit)), negatives)


def joined(cases: Sequence[Simulated]) -> Simulated:
    """The keys of all cases in one history."""
    posts, called = (np.concatenate([getattr(c.history, name) for c in cases]) for name in ("posts", "negatives"))
    sums = [c.history.score_sums for c in cases if c.history.score_sums is not None]
    names = tuple(f"key{i:03}" for i in range(len(posts)))
    score_sums = np.concatenate(sums) if sums else None
    history = CountHistory(names, START, BUCKET_S, posts, called, score_sums=score_sums)
    spikes, usual, negatives = (
        np.concatenate([getattr(c, name) for c in cases]) for name in ("spikes", "usual", "negatives")
    )
    return Simulated(history, spikes, usual, negatives)


def brands(
    posts_per_h: float, days: int, *, first: int, seed: int, second: int = 30, share: float = 0.3
) -> tuple[CountHistory, int]:
    """44 keys (8 brands, 4 topics, each brand in each topic) with two crises within a day, 12 hours apart.

    `posts_per_h` of all keys together. `first` posts of brand b0 within three hours, then `second` of b1, in the same
    topic, 95 % of them negative; also gives the bucket in which the second begins.
    """
    rng, hour = np.random.default_rng([seed, days, round(posts_per_h)]), 3600 // BUCKET_S
    posts = rng.poisson(posts_per_h / hour / 32, (8, 4, days * DAY))
    negatives = rng.binomial(posts, share)
    begin = (days - 2) * DAY + 18 * hour
    for brand, at, count in ((0, begin, first), (1, begin + 12 * hour, second)):
        window = slice(at, at + 3 * hour)
        more = rng.multinomial(count, np.full(3 * hour, 1 / (3 * hour)))
        posts[brand, 0, window] += more
        negatives[brand, 0, window] += rng.binomial(more, 0.95)
    names = [f"subject:b{b}" for b in range(8)] + [f"topic:t{t}" for t in range(4)]
    names += [f"subject:b{b}|topic:t{t}" for b in range(8) for t in range(4)]
    all_posts, all_negatives = (np.concatenate([a.sum(1), a.sum(0), a.reshape(32, -1)]) for a in (posts, negatives))
    return CountHistory(tuple(names), START, BUCKET_S, all_posts, all_negatives), begin + 12 * hour


class CountedStore:
    """As much of a store as the evaluator needs, over the counts of `brands`."""

    def __init__(self, history: CountHistory) -> None:
        self._history, self._states = history, dict[StateKey[Any], Any]()

    def refresh(self) -> None: ...

    def bounds(self) -> tuple[datetime, datetime]:
        return START, self._history.end_of(self._history.posts.shape[1] - 1)

    def state(self, key: StateKey[T]) -> T | None:
        return self._states.get(key)

    def put_state(self, key: StateKey[T], value: T) -> None:
        self._states[key] = value

    def swap_state(self, key: StateKey[T], before: T | None, value: T) -> bool:
        self._states[key] = value
        return True

    def loud_voices(self, start: datetime, end: datetime, rule: object, most: int) -> list[VoicePost]:
        return []

    def counts(self, start: datetime, end: datetime, rule: object) -> list[Cell]:
        """All posts of a bucket stand in its first five minutes."""
        first, last = (-(-int((t - START).total_seconds()) // BUCKET_S) for t in (start, end))
        cells = []
        for row, key in enumerate(self._history.keys):
            subject, _, topic = key.removeprefix("subject:").partition("|topic:")
            if key.startswith("subject:") and not topic:
                continue  # the cells of its topics add up to it
            names = (topic, subject) if topic else (key.removeprefix("topic:"), "")
            for b in np.flatnonzero(self._history.posts[row, max(0, first) : last]) + max(0, first):
                at = int(START.timestamp()) + int(b) * BUCKET_S
                n, k = (int(a[row, b]) for a in (self._history.posts, self._history.negatives))
                cells.append(Cell(at, *names, n, k))
        return cells


def profile_of(process: Process) -> Floats:
    """How much of a spike there is in each of its buckets, in [0, 1]."""
    return np.ones(SPIKE) if process.step else np.sin(np.pi * (np.arange(SPIKE) + 0.5) / SPIKE)


def _rates(process: Process, keys: int, buckets: int, rng: np.random.Generator) -> Floats:
    clock = np.arange(buckets)
    day, week = np.sin(2 * np.pi * (clock / DAY - 0.3)), np.sin(2 * np.pi * clock / (7 * DAY))
    cycle = np.exp(day + 0.2 * week) / 1.27 if process.night else 1 + 0.5 * day + 0.15 * week
    rate = np.broadcast_to(process.posts_per_h * BUCKET_S / 3600 * cycle, (keys, buckets)).copy()
    for key in range(keys):
        for week_start in range(0, buckets, 7 * DAY):
            at = week_start + rng.integers(0, 7 * DAY - 16)
            rate[key, at : at + 12] *= 3
    return rate


def _shares(noise: str, logit: Floats, rng: np.random.Generator) -> Floats:
    mean = 1 / (1 + np.exp(-logit))
    if noise == "beta-binomial":
        return rng.beta(mean * CONCENTRATION, (1 - mean) * CONCENTRATION)
    if noise == "heavy tails":
        return np.asarray(1 / (1 + np.exp(-(logit + TAILS * rng.standard_t(3, logit.shape)))))
    swing = np.zeros(logit.shape)
    shock = rng.normal(0, SWING * np.sqrt(1 - KEEP**2), logit.shape)
    for b in range(1, logit.shape[1]):
        swing[:, b] = KEEP * swing[:, b - 1] + shock[:, b]
    return np.asarray(1 / (1 + np.exp(-(logit + swing))))
