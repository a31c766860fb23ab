"""The negative-share rule: is the share of negative posts of a key higher than its own past makes likely?

Pure, vectorised over keys. For each key and each 5-minute bucket of event time:

0. negatives k are estimated from sums of scores where the bundle says what its scores mean, and otherwise counted by
   label (`score_model.py`). An estimate from n posts tells as much as n kappa / phi posts of a perfect judge, so that
   effective counts k kappa / phi of n kappa / phi take the place of k of n in step 3.
1. baseline mean score m0 = (S + w * g) / (N + w), and from it the share p0. S and N are the sum of scores and the posts
   of the key, each bucket weighted by 2 ** (-age / half_life) (EWMA, half-life 7 days). Only buckets older than the
   longest window and the guard band (6 h + 2 h) count, and none of an open episode, so a spike does not raise its own
   baseline. g is the mean over all keys with the same score model and w = 20 posts its weight (a beta prior: shrinkage
   across keys).
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
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.alerting.detection.baseline import Baseline
from pipeline.alerting.detection.dispersion import Counts, Dispersion, Prior
from pipeline.alerting.detection.score_model import COUNTED, Evidence, Reading, ScoreModel
from pipeline.alerting.detection.tail import Floats, exceeds_lift, log10_tail
from pipeline.alerting.detection.verdicts import Estimate, KeyCounts, Verdicts, WindowVerdict
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


class Detector:
    """State of the baselines. The caller passes every bucket once, in order, to `learn` or to `step`."""

    def __init__(self, config: DetectorConfig, models: Sequence[ScoreModel] = (COUNTED,)) -> None:
        """`models` are the score models that `KeyCounts.model` numbers."""
        self.config, self._models = config, tuple(models)
        self._baseline = Baseline(config.half_life, config.prior_weight, len(self._models))
        self._age = np.zeros(0)
        prior = Prior(half_life=2 * config.half_life, steps=config.warm_after // 7)
        self._dispersion = Dispersion(config.windows, config.recent, prior)
        self._model = np.zeros(0, np.int64)
        #: How the scores of each key are read now.
        self.reading = self._read(self._model)
        self._forecasts: dict[int, tuple[Floats, Floats]] = {}

    def learn(self, counts: KeyCounts, excluded: NDArray[np.bool_]) -> None:
        """Takes the last `config.span` buckets; new keys come at the end.

        `excluded`, bool[n_keys], marks the keys that do not learn from the bucket that now enters the baseline.
        """
        self._grow(counts)
        config, keep = self.config, ~excluded
        enters = counts.posts.shape[1] - max(config.windows) - config.guard
        posts, sums = counts.posts[:, :enters], self._sums(counts.between(0, enters))
        self._dispersion.learn(posts, sums, self._baseline.mean, self.reading, keep)
        self._baseline.learn(posts[:, -1], sums[:, -1], counts.negatives[:, enters - 1], counts.model, keep)
        self._age += (self._age > 0) | (posts[:, -1] > 0)
        self.reading = self._read(counts.model)

    def step(self, counts: KeyCounts, excluded: NDArray[np.bool_]) -> Verdicts:
        """Learns, and scores every key at the end of the newest bucket."""
        self.learn(counts, excluded)
        config, n_keys, share = self.config, len(counts.posts), self.reading.share
        cold = self._age < config.warm_after - max(config.windows) - config.guard
        least = config.cold_rho if self._age.max(initial=0.0) >= config.warm_after // 7 else config.first_day_rho
        forecast = self._dispersion.forecast(counts.posts, self._sums(counts), self._baseline.mean, self.reading)
        n, k = forecast.posts, forecast.negatives
        gates = (k >= config.min_negatives) & exceeds_lift(k, n, share, config.min_lift)
        gates &= ~cold | ((n >= config.cold_posts) & (k >= config.cold_share * n))
        rho = np.where(cold, np.maximum(forecast.rho, least), forecast.rho)
        self._forecasts = {window: (forecast.share[i], rho[i]) for i, window in enumerate(config.windows)}
        scores = np.zeros(gates.shape)
        worth = np.broadcast_to(self.reading.worth, gates.shape)[gates]
        scores[gates] = -log10_tail(k[gates] * worth, n[gates] * worth, *_beta(forecast.share[gates], rho[gates]))
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

    def score(self, row: int, window: int, posts: int, negatives: int, score_sum: float) -> float:
        """The score that key `row` would have now with these posts in a window of `window` buckets.

        `negatives` are those by label.
        """
        found = self._negatives(row, posts, negatives, score_sum)
        if found < self.config.min_negatives or not self._exceeds_lift(row, posts, found):
            return 0.0
        return self._tail(row, window, posts, found)

    def windows(self, row: int, counts: KeyCounts) -> list[WindowVerdict]:
        """Each window of key `row` after a scoring step over the same columns."""
        config, found = self.config, []
        cold = self._age[row] < config.warm_after - max(config.windows) - config.guard
        for window in config.windows:
            posts, counted, score_sum = _totals(row, counts, slice(-window, None))
            negatives = self._negatives(row, posts, counted, score_sum)
            expected, rho = (float(a[row]) for a in self._forecasts[window])
            found.append(
                WindowVerdict(
                    window=window,
                    posts=posts,
                    negatives=negatives,
                    counted=counted,
                    expected=expected * posts,
                    rho=rho,
                    score=self._tail(row, window, posts, negatives) if negatives else 0.0,
                    few=negatives < config.min_negatives,
                    flat=not self._exceeds_lift(row, posts, negatives),
                    cold=bool(cold and (posts < config.cold_posts or negatives < config.cold_share * posts)),
                )
            )
        return found

    def estimate(self, row: int, counts: KeyCounts) -> Estimate | None:
        """What the estimated negatives of key `row` in all buckets of `counts` rest on; None if labels are counted."""
        if self._counts_labels(row):
            return None
        posts, counted, score_sum = _totals(row, counts, slice(None))
        reading = self.reading.at(slice(row, row + 1))
        negatives = self._negatives(row, posts, counted, score_sum)
        low, high = reading.interval(np.array([posts]), np.array([negatives]))
        other_mean, slope = float(reading.offset[0]), float(reading.slope[0])
        return Estimate(counted, float(low[0]), float(high[0]), other_mean + slope, other_mean)

    def negatives_of(self, row: int, posts: Counts, negatives: Counts, score_sums: Floats) -> Counts | Floats:
        """The negatives among posts of key `row`, one number per bucket: by label, or estimated from the scores.

        Noise may take an estimate below 0 or above the posts.
        """
        if self._counts_labels(row):
            return negatives
        return self.reading.at(slice(row, row + 1)).negatives(posts, score_sums)

    def exceeds_lift(self, row: int, counts: KeyCounts) -> bool:
        """Whether the posts of key `row` in all buckets of `counts` exceed its baseline by the minimum lift."""
        totals = _totals(row, counts, slice(None))
        return self._exceeds_lift(row, totals[0], self._negatives(row, *totals))

    def volume(self, row: int) -> float:
        """Posts per bucket of a key, averaged with the weights of the baseline."""
        half_life = self.config.half_life
        weight = (1 - 0.5 ** (self._age[row] / half_life)) / (1 - 0.5 ** (1 / half_life))
        return float(self._baseline.posts[row] / max(weight, 1.0))

    def _exceeds_lift(self, row: int, posts: int, negatives: float) -> bool:
        return bool(exceeds_lift(negatives, posts, self.reading.share[row], self.config.min_lift))

    def _tail(self, row: int, window: int, posts: int, negatives: float) -> float:
        """The score of these counts without the gates."""
        expected, rho = (a[row : row + 1] for a in self._forecasts[window])
        worth = self.reading.worth[row]
        tail = float(log10_tail(np.array([negatives * worth]), np.array([posts * worth]), *_beta(expected, rho))[0])
        return max(0.0, -tail - self._handicap(window))

    def _negatives(self, row: int, posts: int, negatives: int, score_sum: float) -> float:
        """Negatives by label or estimated, in [0, posts]."""
        found = self.negatives_of(row, np.array([posts]), np.array([negatives]), np.array([score_sum]))
        return float(np.clip(found[0], 0, posts))

    def _counts_labels(self, row: int) -> bool:
        return self._models[int(self._model[row])].counts_labels

    def _handicap(self, window: int) -> float:
        """The amount by which a window's score is lowered: chance has more tries in shorter windows."""
        return 0.5 * math.log10(max(self.config.windows) / window)

    def _sums(self, counts: KeyCounts) -> Floats:
        """[n_keys, buckets]: sums of scores, and negatives where labels are counted."""
        counted = np.array([model.counts_labels for model in self._models])
        if counted.all():
            return counts.negatives.astype(np.float64)
        if not counted.any():
            return counts.score_sums
        return np.where(counted[counts.model][:, None], counts.negatives, counts.score_sums)

    def _grow(self, counts: KeyCounts) -> None:
        n_keys, self._model = len(counts.posts), counts.model
        missing = n_keys - len(self._age)
        if missing:
            self._age = np.pad(self._age, (0, missing))
            self._dispersion.grow(n_keys)
            self._baseline.grow(counts.model)
            self.reading = self._read(counts.model)

    def _read(self, model: NDArray[np.int64]) -> Reading:
        evidence = Evidence(self._baseline.mean, self._baseline.called, *self._dispersion.phi())
        if len(self._models) == 1:
            return self._models[0].read(evidence)
        fields = np.empty((len(Reading._fields), len(model)))
        for number, score_model in enumerate(self._models):
            rows = model == number
            fields[:, rows] = np.array(score_model.read(evidence.at(rows)))
        return Reading(*fields)


def _totals(row: int, counts: KeyCounts, columns: slice) -> tuple[int, int, float]:
    """Posts, negatives by label and sum of scores of key `row` in these columns."""
    posts, negatives = (int(a[row, columns].sum()) for a in (counts.posts, counts.negatives))
    return posts, negatives, float(counts.score_sums[row, columns].sum())


def _beta(share: Floats, rho: Floats) -> tuple[Floats, Floats]:
    """Alpha = p m and beta = (1 - p) m of the beta distribution with mean p and dispersion rho, m = 1/rho - 1."""
    m = 1 / rho - 1
    return share * m, (1 - share) * m
