"""The alert rule: is the negative share of a key higher than its own past makes likely? Pure, vectorised over keys.

For each key and each 5-minute bucket of event time:

1. baseline share p0 = (K + w * g) / (N + w). K and N are the key's negatives and posts, each bucket weighted by
   2 ** (-age / half_life) (EWMA, half-life 7 days). Only buckets older than the longest window and the guard band
   (6 h + 2 h) count, and none of an open episode, so a spike does not raise its own baseline. g is the share over
   all keys and w = 20 posts its weight (a beta prior: shrinkage across keys).
2. expected share p_W and spread rho_W of each window W from how this key usually swings, and from the two hours
   before the window (`swings.py`, with the formulas and their sources).
3. score s = max over W in (1, 2, 3, 4, 6 h) of -log10(P(X >= k) sqrt(6 h / W)),
   X ~ BetaBinomial(n, p_W m, (1 - p_W) m), m = 1/rho_W - 1. A day holds six times as many separate windows of 1 h as
   of 6 h, so short ones must reach more (Dümbgen and Spokoiny 2001, "Multiscale testing"); the whole 6 h / W would give
   each length the same share of the false alerts, and tell of a great leap later.
4. gates: k >= 10, rises only: share >= 1.5 p0, or (1 - share) <= (1 - p0) / 1.5 (the first below p0 = 0.4).
5. cold start (a key younger than 7 days): share >= 40 % of n >= 50 as well, rho_W at least 0.03 (nobody knows yet
   how it swings), and the verdict says `cold`. Before any key is a day old there is hardly anything to compare with:
   p0 is near 0.2 and rho_W at least 0.1, so that only some 80 % of negatives fire.

Sources: Tokars et al. 2009 (rates with a denominator beat counts); Fricker et al. 2008 (residuals of a forecast).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.alerting.detection.dispersion import Swings, Usual
from pipeline.alerting.detection.tail import Floats, exceeds_lift, log10_tail
from pipeline.domain.counting import BUCKET_S

_PER_HOUR = 3600 // BUCKET_S
_DAY = 24 * _PER_HOUR
_WINDOWS_H = (1, 2, 3, 4, 6)


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """Lengths in buckets of 5 minutes, shares in [0, 1]; the defaults are explained in the module."""

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
    cold_spread: float = 0.03
    first_day_spread: float = 0.1

    @classmethod
    def every(cls, bucket_s: int, **changes: Any) -> DetectorConfig:
        """The same rule over buckets of another length (a divisor of an hour).

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
        """Buckets that a step looks at: the one entering the baseline, what its moments need, and all after it."""
        return max(self.windows) + self.recent + self.guard + max(self.windows)


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Per key, of the window with the highest score; `expected` are negatives, score is 0 where a gate is shut."""

    score: Floats
    window: NDArray[np.int64]
    posts: NDArray[np.int64]
    negatives: NDArray[np.int64]
    expected: Floats
    baseline: Floats
    cold: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class WindowVerdict:
    """What one window of one key says; `window` in buckets, `score` as it would be with every gate open.

    `few`, `flat` and `cold` name the gates that are shut: too few negatives, too little lift, too little for a key
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
    """State of the baselines; give it every bucket once, in order."""

    def __init__(self, rule: DetectorConfig) -> None:
        self.rule = rule
        self._n = np.zeros(0)
        self._k = np.zeros(0)
        self._age = np.zeros(0)
        usual = Usual(half_life=2 * rule.half_life, prior_steps=rule.warm_after // 7)
        self._swings = Swings(rule.windows, rule.recent, usual)
        self._forecasts: dict[int, tuple[Floats, Floats]] = {}

    def step(
        self, posts: NDArray[np.int64], negatives: NDArray[np.int64], excluded: NDArray[np.bool_], *, score: bool = True
    ) -> Verdicts | None:
        """Takes the last `rule.span` buckets, int64[n_keys, span], the newest last; keys may be added at the end.

        `excluded`, bool[n_keys]: the bucket that now enters the baseline lies in an episode. Without `score`
        only the baseline is learned (warming up over history).
        """
        self._grow(len(posts))
        rule = self.rule
        decay = 0.5 ** (1 / rule.half_life)
        enters = posts.shape[1] - max(rule.windows) - rule.guard
        keep = ~excluded
        self._swings.learn(posts[:, :enters], negatives[:, :enters], self._baseline(), keep)
        self._n = self._n * decay + keep * posts[:, enters - 1]
        self._k = self._k * decay + keep * negatives[:, enters - 1]
        self._age += (self._age > 0) | (posts[:, enters - 1] > 0)
        return self._verdicts(posts, negatives) if score else None

    def _verdicts(self, all_posts: NDArray[np.int64], all_negatives: NDArray[np.int64]) -> Verdicts:
        rule, n_keys = self.rule, len(all_posts)
        share = self._baseline()
        cold = self._age < rule.warm_after - max(rule.windows) - rule.guard
        least = rule.cold_spread if self._age.max(initial=0.0) >= rule.warm_after // 7 else rule.first_day_spread
        seen = self._swings.forecast(all_posts, all_negatives, share)
        posts, negatives = seen.posts, seen.negatives
        gates = (negatives >= rule.min_negatives) & exceeds_lift(negatives, posts, share, rule.min_lift)
        gates &= ~cold | ((posts >= rule.cold_posts) & (negatives >= rule.cold_share * posts))
        spreads = np.where(cold, np.maximum(seen.spread, least), seen.spread)
        self._forecasts = {w: (seen.share[i], spreads[i]) for i, w in enumerate(rule.windows)}
        scores = np.zeros(gates.shape)
        scores[gates] = -log10_tail(negatives[gates], posts[gates], *_beta(seen.share[gates], spreads[gates]))
        scores = np.maximum(scores - np.array([self._handicap(w) for w in rule.windows])[:, None], 0.0)
        best = scores.argmax(0), np.arange(n_keys)
        score = scores[best]
        return Verdicts(
            score=score,
            window=np.array(rule.windows)[best[0]],
            posts=posts[best],
            negatives=negatives[best],
            expected=np.where(score > 0, seen.share[best], share) * posts[best],
            baseline=share,
            cold=cold,
        )

    def score(self, row: int, window: int, n: int, k: int) -> float:
        """The score that key `row` would have now with `k` negatives of `n` posts in a window of `window` buckets."""
        if k < self.rule.min_negatives or not self.exceeds_lift(row, n, k):
            return 0.0
        return self._tail(row, window, n, k)

    def _tail(self, row: int, window: int, n: int, k: int) -> float:
        """The score without the gates."""
        expected, spread = (a[row : row + 1] for a in self._forecasts[window])
        tail = float(log10_tail(np.array([k]), np.array([n]), *_beta(expected, spread))[0])
        return max(0.0, -tail - self._handicap(window))

    def windows(self, row: int, posts: NDArray[np.int64], negatives: NDArray[np.int64]) -> list[WindowVerdict]:
        """Each window of key `row` after a scoring step over the same columns, int64[n_keys, >= longest window]."""
        rule, share, found = self.rule, self._baseline()[row], []
        cold = self._age[row] < rule.warm_after - max(rule.windows) - rule.guard
        for window in rule.windows:
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
                    few=k < rule.min_negatives,
                    flat=not exceeds_lift(k, n, share, rule.min_lift),
                    cold=bool(cold and (n < rule.cold_posts or k < rule.cold_share * n)),
                )
            )
        return found

    def volume(self, row: int) -> float:
        """Posts per bucket of a key, over the time that the baseline remembers."""
        half_life = self.rule.half_life
        weight = (1 - 0.5 ** (self._age[row] / half_life)) / (1 - 0.5 ** (1 / half_life))
        return float(self._n[row] / max(weight, 1.0))

    def exceeds_lift(self, row: int, n: int, k: int) -> bool:
        """Whether `k` negatives of `n` posts lie above the key's baseline by the least lift that counts."""
        return bool(exceeds_lift(k, n, self._baseline()[row], self.rule.min_lift))

    def _handicap(self, window: int) -> float:
        """What a window's score is lowered by: the shorter it is, the more often chance has a try."""
        return 0.5 * math.log10(max(self.rule.windows) / window)

    def _baseline(self) -> Floats:
        total = self._n.sum()
        everywhere = self._k.sum() / total if total else 0.2
        share = (self._k + self.rule.prior_weight * everywhere) / (self._n + self.rule.prior_weight)
        clipped: Floats = np.clip(share, 0.005, 0.95)
        return clipped

    def _grow(self, n_keys: int) -> None:
        missing = n_keys - len(self._n)
        if missing:
            self._n, self._k, self._age = (np.pad(a, (0, missing)) for a in (self._n, self._k, self._age))
            self._swings.grow(n_keys)


def _beta(share: Floats, spread: Floats) -> tuple[Floats, Floats]:
    """Alpha and beta of the beta distribution with this mean and intra-class correlation."""
    m = 1 / spread - 1
    return share * m, (1 - share) * m
