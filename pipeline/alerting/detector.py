"""The alert rule: is the negative share of a key higher than its own past makes likely? Pure, vectorised over keys.

For each key and each 5-minute bucket of event time:

1. baseline share p0 = (K + w * g) / (N + w). K and N are the key's negatives and posts, each bucket weighted by
   2 ** (-age / half_life) (EWMA, half-life 7 days). Only buckets older than the longest window and the guard band
   (6 h + 2 h) count, and none of an open episode, so a spike does not raise its own baseline. g is the share over
   all keys and w = 20 posts its weight (a beta prior: shrinkage across keys).
2. overdispersion rho, by moments over the same past, per window length W: with k of n negative in a window,
   E[(k - n p)^2] = n p (1 - p) (1 + (n - 1) rho), so rho = sum((k - n p)^2 - n p (1 - p)) / sum(n (n - 1) p (1 - p)).
   One rho per window length, because swings that last hours do not average out in a long window; shrunk to the
   mean of all keys by `rho_weight` windows. A week gives a noisy estimate, and trusting it whole costs recall
   (`python -m tests.bench.detector`), so rho = 0.01 + 0.3 * (estimate - 0.01), floor 0.003.
3. score s = max over W in (1 h, 3 h, 6 h) of -log10 P(X >= k), X ~ BetaBinomial(n, p0 m, (1 - p0) m), m = 1/rho - 1.
4. gates: k >= 10, share >= 1.5 p0, rises only.
5. cold start (a key younger than 7 days): share >= 40 % of n >= 50 as well, and the verdict says `cold`.

Sources: Tokars et al. 2009 (rates with a denominator beat counts); Fricker et al. 2008; Williams 1982 for the
moment estimate of beta-binomial overdispersion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from pipeline.store.base import BUCKET_S

Floats = NDArray[np.float64]
_PER_HOUR = 3600 // BUCKET_S
_DAY = 24 * _PER_HOUR


@dataclass(frozen=True, slots=True)
class Rule:
    """Lengths in buckets of 5 minutes, shares in [0, 1]; the defaults are explained in the module."""

    windows: tuple[int, ...] = (_PER_HOUR, 3 * _PER_HOUR, 6 * _PER_HOUR)
    guard: int = 2 * _PER_HOUR
    half_life: int = 7 * _DAY
    prior_weight: float = 20.0
    rho_floor: float = 0.003
    rho_typical: float = 0.01
    rho_trust: float = 0.3
    rho_weight: float = 50.0
    min_negatives: int = 10
    min_lift: float = 1.5
    warm_after: int = 7 * _DAY
    cold_share: float = 0.4
    cold_posts: int = 50

    @classmethod
    def every(cls, bucket_s: int, **changes: Any) -> Rule:
        """The same rule over buckets of another length (a divisor of an hour).

        >>> Rule.every(3600).windows, Rule.every(3600).warm_after
        ((1, 3, 6), 168)
        """
        hour = 3600 // bucket_s
        lengths = {
            "windows": (hour, 3 * hour, 6 * hour),
            "guard": 2 * hour,
            "half_life": 168 * hour,
            "warm_after": 168 * hour,
        }
        return cls(**{**lengths, **changes})

    @property
    def span(self) -> int:
        """Buckets that a step looks at: the one entering the baseline and all after it."""
        return max(self.windows) + self.guard + max(self.windows)


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


class Detector:
    """State of the baselines; give it every bucket once, in order."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._n = np.zeros(0)
        self._k = np.zeros(0)
        self._age = np.zeros(0)
        self._excess = np.zeros((len(rule.windows), 0))
        self._scale = np.zeros((len(rule.windows), 0))

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
        at = posts.shape[1] - max(rule.windows) - rule.guard - 1
        share = self._baseline()
        keep = ~excluded
        for w, width in enumerate(rule.windows):
            n = posts[:, at - width + 1 : at + 1].sum(1)
            k = negatives[:, at - width + 1 : at + 1].sum(1)
            variance = share * (1 - share)
            self._excess[w] = self._excess[w] * decay + keep * ((k - n * share) ** 2 - n * variance)
            self._scale[w] = self._scale[w] * decay + keep * (n * np.maximum(n - 1, 0) * variance)
        self._n = self._n * decay + keep * posts[:, at]
        self._k = self._k * decay + keep * negatives[:, at]
        self._age += (self._age > 0) | (posts[:, at] > 0)
        return self._verdicts(posts, negatives) if score else None

    def _verdicts(self, posts: NDArray[np.int64], negatives: NDArray[np.int64]) -> Verdicts:
        rule, n_keys = self.rule, len(posts)
        share = self._baseline()
        cold = self._age < rule.warm_after - max(rule.windows) - rule.guard
        best = Verdicts(
            score=np.zeros(n_keys),
            window=np.full(n_keys, rule.windows[0], np.int64),
            posts=posts[:, -rule.windows[0] :].sum(1),
            negatives=negatives[:, -rule.windows[0] :].sum(1),
            expected=share * posts[:, -rule.windows[0] :].sum(1),
            baseline=share,
            cold=cold,
        )
        for w, width in enumerate(rule.windows):
            n, k = posts[:, -width:].sum(1), negatives[:, -width:].sum(1)
            gate = (k >= rule.min_negatives) & (k >= rule.min_lift * n * share)
            gate &= ~cold | ((n >= rule.cold_posts) & (k >= rule.cold_share * n))
            rows = np.flatnonzero(gate)
            if not rows.size:
                continue
            m = 1 / self._rho(w)[rows] - 1
            tail = log10_tail(k[rows], n[rows], share[rows] * m, (1 - share[rows]) * m)
            for row, value in zip(rows, -tail, strict=True):
                if value > best.score[row]:
                    best.score[row], best.window[row] = value, width
                    best.posts[row], best.negatives[row] = n[row], k[row]
                    best.expected[row] = n[row] * share[row]
        return best

    def score(self, row: int, window: int, n: int, k: int) -> float:
        """The score that key `row` would have with `k` negatives of `n` posts in a window of `window` buckets."""
        share = float(self._baseline()[row])
        if k < self.rule.min_negatives or not self.rises(row, n, k):
            return 0.0
        m = 1 / self._rho(self.rule.windows.index(window))[row] - 1
        ends = np.array([share * m]), np.array([(1 - share) * m])
        return -float(log10_tail(np.array([k]), np.array([n]), *ends)[0])

    def rises(self, row: int, n: int, k: int) -> bool:
        """Whether `k` negatives of `n` posts lie above the key's baseline by the least lift that counts."""
        return k >= self.rule.min_lift * n * float(self._baseline()[row])

    def _baseline(self) -> Floats:
        total = self._n.sum()
        everywhere = self._k.sum() / total if total else 0.2
        share = (self._k + self.rule.prior_weight * everywhere) / (self._n + self.rule.prior_weight)
        clipped: Floats = np.clip(share, 0.005, 0.95)
        return clipped

    def _rho(self, window: int) -> Floats:
        rule, excess, scale = self.rule, self._excess[window], self._scale[window]
        if not scale.sum():
            return np.full(len(scale), rule.rho_typical)
        pooled = excess.sum() / scale.sum()
        weight = rule.rho_weight * scale.sum() / max(1.0, self._age.sum())
        estimate = (excess + weight * pooled) / (scale + weight)
        rho: Floats = np.clip(rule.rho_typical + rule.rho_trust * (estimate - rule.rho_typical), rule.rho_floor, 0.5)
        return rho

    def _grow(self, n_keys: int) -> None:
        missing = n_keys - len(self._n)
        if missing:
            self._n, self._k, self._age = (np.pad(a, (0, missing)) for a in (self._n, self._k, self._age))
            self._excess, self._scale = (np.pad(a, ((0, 0), (0, missing))) for a in (self._excess, self._scale))


def log10_tail(k: NDArray[np.int64], n: NDArray[np.int64], alpha: Floats, beta: Floats) -> Floats:
    """log10 P(X >= k) of beta-binomials, float64[rows]; exact sums, in log space.

    >>> round(float(log10_tail(np.array([1]), np.array([1]), np.array([1.0]), np.array([3.0]))[0]), 6)
    -0.60206
    """
    tails = np.empty(len(k))
    for row in range(len(k)):
        x = np.arange(k[row], n[row] + 1)
        a, b, size = alpha[row], beta[row], n[row]
        terms = (
            gammaln(size + 1) - gammaln(x + 1) - gammaln(size - x + 1)
            + gammaln(x + a) + gammaln(size - x + b) - gammaln(size + a + b)
            + gammaln(a + b) - gammaln(a) - gammaln(b)
        )  # fmt: skip
        tails[row] = np.logaddexp.reduce(terms) / np.log(10) if len(x) else 0.0
    capped: Floats = np.minimum(tails, 0.0)
    return capped


def onset(posts: NDArray[np.int64], negatives: NDArray[np.int64], baseline: float) -> int:
    """Index of the bucket in which a rise most likely began: the suffix with the highest log-likelihood ratio.

    int64[buckets] each, oldest first; `baseline` in (0, 1). 0 where no suffix lies above the baseline.

    >>> onset(np.array([5, 5, 5, 5]), np.array([1, 1, 5, 4]), 0.2)
    2
    """
    n = np.cumsum(posts[::-1])[::-1]
    k = np.cumsum(negatives[::-1])[::-1]
    share = np.clip(k / np.maximum(n, 1), 1e-9, 1 - 1e-9)
    ratio = k * np.log(share / baseline) + (n - k) * np.log((1 - share) / (1 - baseline))
    return int(np.argmax(np.where(share > baseline, ratio, 0.0)))
