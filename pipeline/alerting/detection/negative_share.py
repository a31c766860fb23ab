"""The negative-share rule: is the share of negative posts of a key higher than its own past makes likely?

Pure, vectorised over keys. For each key and each 5-minute bucket of event time:

1. baseline share p0 = (K + w * g) / (N + w). K and N are the negatives and posts of the key, each bucket weighted by
   2 ** (-age / half_life) (EWMA, half-life 7 days). Only buckets older than the longest window and the guard band
   (6 h + 2 h) count, and none of an open episode, so a spike does not raise its own baseline. g is the share over
   all keys and w = 20 posts its weight (a beta prior: shrinkage across keys).
2. expected share p_W and dispersion rho_W of each window W, from the usual variation of the key and from the two hours
   before the window (`dispersion.py` has the formulas and their sources).
3. score s = max over W in (1, 2, 3, 4, 6 h) of -log10(P(X >= k) sqrt(6 h / W)),
   X ~ BetaBinomial(n, p_W m, (1 - p_W) m), m = 1/rho_W - 1. A day holds six times as many separate windows of 1 h as
   of 6 h, so short ones must reach more (Dümbgen and Spokoiny 2001, "Multiscale testing"). With the whole 6 h / W each
   length would have the same share of the false alerts, but the rule would report a great leap later.
4. gates: k >= 10, and the share exceeds the lift: share >= 1.5 p0, or (1 - share) <= (1 - p0) / 1.5 (the first below
   p0 = 0.4).
5. cold start (a key younger than 7 days): also share >= 40 % of n >= 50, and rho_W at least 0.03, because the usual
   variation of the key is not known yet. The verdict is marked `cold`. Before any key is a day old there is hardly
   anything to compare with: p0 is near 0.2 and rho_W at least 0.1, so that only some 80 % of negatives fire.

Sources: Tokars et al. 2009 (rates with a denominator beat counts); Fricker et al. 2008 (residuals of a forecast).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.alerting.detection.dispersion import Dispersion, Prior
from pipeline.alerting.detection.tail import Floats, exceeds_lift, log10_tail
from pipeline.domain.counting import BUCKET_S

_PER_HOUR = 3600 // BUCKET_S
_DAY = 24 * _PER_HOUR
_WINDOWS_H = (1, 2, 3, 4, 6)


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """Lengths in buckets of 5 minutes, shares in [0, 1]; the module's docstring explains the defaults."""

    windows: tuple[int, ...] = tuple(h * _PER_HOUR for h in _WINDOWS_H)
    guard: int = 2 * _PER_HOUR
    recent: int = 2 * _PER_HOUR
    half_life: int = 7 * _DAY
    prior_weight: float = 20.0
    min_negatives: int = 10
    min_lift: float = 1.5
    warm_after: int = 7 * _DAY
    cold_share: float = 0.4
    cold_posts: int = 50
    cold_rho: float = 0.03
    first_day_rho: float = 0.1

    @classmethod
    def every(cls, bucket_s: int, **changes: Any) -> DetectorConfig:
        """The same configuration for buckets of `bucket_s` seconds (a divisor of an hour).

        >>> DetectorConfig.every(3600).windows, DetectorConfig.every(3600).warm_after
        ((1, 2, 3, 4, 6), 168)
        """
        hour = 3600 // bucket_s
        lengths = {
            "windows": tuple(h * hour for h in _WINDOWS_H),
            "guard": 2 * hour,
            "recent": 2 * hour,
            "half_life": 168 * hour,
            "warm_after": 168 * hour,
        }
        return cls(**{**lengths, **changes})

    @property
    def span(self) -> int:
        """Buckets that a step reads: those for the moments, the one that enters the baseline, and all after it."""
        return max(self.windows) + self.recent + self.guard + max(self.windows)

    @property
    def learning_delay(self) -> int:
        """Buckets from the start of the one that enters the baseline to the end of the newest."""
        return max(self.windows) + self.guard + 1


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Per key, of the window with the highest score; the score is 0 where a gate is shut.

    `observed` and `expected` are negatives here, and posts in the volume lane.
    """

    score: Floats
    window: NDArray[np.int64]
    posts: NDArray[np.int64]
    observed: NDArray[np.int64]
    expected: Floats
    baseline: Floats
    cold: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class WindowVerdict:
    """One window of one key; `window` is in buckets, `score` is the one that the window has with every gate open.

    `few`, `flat` and `cold` mark the gates that are shut: too few negatives, too little lift, too little for a key
    younger than a week.
    """

    window: int
    posts: int
    negatives: int
    expected: float
    rho: float
    score: float
    few: bool
    flat: bool
    cold: bool


class Detector:
    """State of the baselines. The caller passes every bucket once, in order, to `learn` or to `step`."""

    def __init__(self, config: DetectorConfig) -> None:
        self.config = config
        self._n = np.zeros(0)
        self._k = np.zeros(0)
        self._age = np.zeros(0)
        prior = Prior(half_life=2 * config.half_life, steps=config.warm_after // 7)
        self._dispersion = Dispersion(config.windows, config.recent, prior)
        self._forecasts: dict[int, tuple[Floats, Floats]] = {}

    def learn(self, posts: NDArray[np.int64], negatives: NDArray[np.int64], excluded: NDArray[np.bool_]) -> None:
        """Takes the last `config.span` buckets, int64[n_keys, span], the newest last; new keys come at the end.

        `excluded`, bool[n_keys], marks the keys that do not learn from the bucket that now enters the baseline.
        """
        self._grow(len(posts))
        config = self.config
        decay = 0.5 ** (1 / config.half_life)
        enters = posts.shape[1] - max(config.windows) - config.guard
        keep = ~excluded
        self._dispersion.learn(posts[:, :enters], negatives[:, :enters], self._baseline(), keep)
        self._n = self._n * decay + keep * posts[:, enters - 1]
        self._k = self._k * decay + keep * negatives[:, enters - 1]
        self._age += (self._age > 0) | (posts[:, enters - 1] > 0)

    def step(self, posts: NDArray[np.int64], negatives: NDArray[np.int64], excluded: NDArray[np.bool_]) -> Verdicts:
        """Learns, and scores every key at the end of the newest bucket."""
        self.learn(posts, negatives, excluded)
        config, n_keys = self.config, len(posts)
        share = self._baseline()
        cold = self._age < config.warm_after - max(config.windows) - config.guard
        least = config.cold_rho if self._age.max(initial=0.0) >= config.warm_after // 7 else config.first_day_rho
        forecast = self._dispersion.forecast(posts, negatives, share)
        n, k = forecast.posts, forecast.negatives
        gates = (k >= config.min_negatives) & exceeds_lift(k, n, share, config.min_lift)
        gates &= ~cold | ((n >= config.cold_posts) & (k >= config.cold_share * n))
        rho = np.where(cold, np.maximum(forecast.rho, least), forecast.rho)
        self._forecasts = {window: (forecast.share[i], rho[i]) for i, window in enumerate(config.windows)}
        scores = np.zeros(gates.shape)
        scores[gates] = -log10_tail(k[gates], n[gates], *_beta(forecast.share[gates], rho[gates]))
        scores = np.maximum(scores - np.array([self._handicap(w) for w in config.windows])[:, None], 0.0)
        best = scores.argmax(0), np.arange(n_keys)
        score = scores[best]
        return Verdicts(
            score=score,
            window=np.array(config.windows)[best[0]],
            posts=n[best],
            observed=k[best],
            expected=np.where(score > 0, forecast.share[best], share) * n[best],
            baseline=share,
            cold=cold,
        )

    def score(self, row: int, window: int, n: int, k: int) -> float:
        """The score that key `row` would have now with k negatives of n posts in a window of `window` buckets."""
        if k < self.config.min_negatives or not self.exceeds_lift(row, n, k):
            return 0.0
        return self._tail(row, window, n, k)

    def _tail(self, row: int, window: int, n: int, k: int) -> float:
        """The score of k negatives of n posts without the gates."""
        expected, rho = (a[row : row + 1] for a in self._forecasts[window])
        tail = float(log10_tail(np.array([k]), np.array([n]), *_beta(expected, rho))[0])
        return max(0.0, -tail - self._handicap(window))

    def windows(self, row: int, posts: NDArray[np.int64], negatives: NDArray[np.int64]) -> list[WindowVerdict]:
        """Each window of key `row` after a scoring step over the same columns, int64[n_keys, >= longest window]."""
        config, share, found = self.config, self._baseline()[row], []
        cold = self._age[row] < config.warm_after - max(config.windows) - config.guard
        for window in config.windows:
            n, k = (int(a[row, -window:].sum()) for a in (posts, negatives))
            expected, rho = (float(a[row]) for a in self._forecasts[window])
            found.append(
                WindowVerdict(
                    window=window,
                    posts=n,
                    negatives=k,
                    expected=expected * n,
                    rho=rho,
                    score=self._tail(row, window, n, k) if k else 0.0,
                    few=k < config.min_negatives,
                    flat=not exceeds_lift(k, n, share, config.min_lift),
                    cold=bool(cold and (n < config.cold_posts or k < config.cold_share * n)),
                )
            )
        return found

    def volume(self, row: int) -> float:
        """Posts per bucket of a key, averaged with the weights of the baseline."""
        half_life = self.config.half_life
        weight = (1 - 0.5 ** (self._age[row] / half_life)) / (1 - 0.5 ** (1 / half_life))
        return float(self._n[row] / max(weight, 1.0))

    def exceeds_lift(self, row: int, n: int, k: int) -> bool:
        """Whether k negatives of n posts exceed the key's baseline by the minimum lift."""
        return bool(exceeds_lift(k, n, self._baseline()[row], self.config.min_lift))

    def _handicap(self, window: int) -> float:
        """The amount by which a window's score is lowered: chance has more tries in shorter windows."""
        return 0.5 * math.log10(max(self.config.windows) / window)

    def _baseline(self) -> Floats:
        total = self._n.sum()
        everywhere = self._k.sum() / total if total else 0.2
        share = (self._k + self.config.prior_weight * everywhere) / (self._n + self.config.prior_weight)
        clipped: Floats = np.clip(share, 0.005, 0.95)
        return clipped

    def _grow(self, n_keys: int) -> None:
        missing = n_keys - len(self._n)
        if missing:
            self._n, self._k, self._age = (np.pad(a, (0, missing)) for a in (self._n, self._k, self._age))
            self._dispersion.grow(n_keys)


def _beta(share: Floats, rho: Floats) -> tuple[Floats, Floats]:
    """Alpha = p m and beta = (1 - p) m of the beta distribution with mean p and dispersion rho, m = 1/rho - 1."""
    m = 1 / rho - 1
    return share * m, (1 - share) * m
