"""Drift of the model's input and output since its training. Pure.

A bundle keeps a profile of its validation rows: class shares and confidence per head, languages, share of unknown
tokens. Distances are Jensen-Shannon divergences in bits (Lin 1991), in [0, 1]: 0 for equal and 1 for disjoint
distributions. The expected accuracy is the mean calibrated confidence (average confidence, Guillory et al. 2021,
without its correction) and is as accurate as the calibration.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.heads import TOWARD, Prediction
from models.text import language

CONFIDENCE_BINS = 10
_RESAMPLES = 400


@dataclass(frozen=True, slots=True)
class Profile:
    """Shares over `rows` texts; each distribution sums to 1, and `unknown_tokens` is a single share."""

    rows: int
    classes: dict[str, dict[str, float]]
    confidence: dict[str, list[float]]
    expected_accuracy: dict[str, float]
    languages: dict[str, float]
    unknown_tokens: float


def profile(texts: Sequence[str], predictions: Sequence[Prediction], unknown_tokens: float) -> Profile:
    """The profile of at least one text and its predictions, those toward subjects included."""
    heads = predictions[0].heads
    labels = {h: [p.most_probable(h) for p in predictions] for h in heads}
    scores = {h: np.array([p.score(h) for p in predictions]) for h in heads}
    if toward := [target for p in predictions for target in p.toward.values() if not target.whole_text]:
        labels[TOWARD] = [target.label for target in toward]
        scores[TOWARD] = np.array([target.score for target in toward])
    return Profile(
        rows=len(texts),
        classes={h: _shares(Counter(found)) for h, found in labels.items()},
        confidence={h: (np.bincount(_bins(s), minlength=CONFIDENCE_BINS) / len(s)).tolist() for h, s in scores.items()},
        expected_accuracy={h: float(s.mean()) for h, s in scores.items()},
        languages=_shares(Counter(map(language, texts))),
        unknown_tokens=unknown_tokens,
    )


@dataclass(frozen=True, slots=True)
class Distance:
    """A divergence in bits with its 95 % interval, from resampling the newer rows."""

    value: float
    low: float
    high: float


def distances(reference: Profile, now: Profile, *, seed: int = 17) -> dict[str, Distance]:
    """Distances by name: `classes/HEAD` and `confidence/HEAD` per head, and `languages`."""
    found: dict[str, Distance] = {}
    for head in reference.classes.keys() & now.classes.keys():
        found[f"classes/{head}"] = _distance(reference.classes[head], now.classes[head], now.rows, seed)
        bins = [dict(enumerate(p.confidence[head])) for p in (reference, now)]
        found[f"confidence/{head}"] = _distance(bins[0], bins[1], now.rows, seed)
    found["languages"] = _distance(reference.languages, now.languages, now.rows, seed)
    return dict(sorted(found.items()))


def divergence(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Jensen-Shannon divergence in bits along the last axis.

    >>> float(divergence(np.array([1.0, 0.0]), np.array([0.0, 1.0])))
    1.0
    """
    middle = (p + q) / 2
    return (_relative(p, middle) + _relative(q, middle)) / 2


def _relative(p: NDArray[np.float64], m: NDArray[np.float64]) -> NDArray[np.float64]:
    ratio = np.divide(p, m, out=np.ones_like(m * p), where=(p > 0) & (m > 0))
    result: NDArray[np.float64] = (p * np.log2(ratio)).sum(-1)
    return result


def _distance(p: Mapping[Any, float], q: Mapping[Any, float], rows: int, seed: int) -> Distance:
    keys = list(dict.fromkeys([*p, *q]))
    a, b = (np.array([m.get(k, 0.0) for k in keys], np.float64) for m in (p, q))
    draws = np.random.default_rng(seed).multinomial(rows, b / b.sum(), _RESAMPLES) / rows
    low, high = np.quantile(divergence(a, draws), [0.025, 0.975])
    return Distance(float(divergence(a, b)), float(low), float(high))


class Watch:
    """Compares the last `window` labels of each head with a reference; reports every `every` labels."""

    def __init__(
        self,
        reference: Mapping[str, Mapping[str, float]],
        report: Callable[[str, float], None],
        *,
        window: int = 5000,
        every: int = 500,
    ) -> None:
        """`reference[head]` maps each class to its share; `report(head, divergence)` takes the result in bits."""
        self._reference, self._report, self._every = reference, report, every
        self._seen: dict[str, deque[str]] = {head: deque(maxlen=window) for head in reference}
        self._new = 0

    def add(self, predictions: Iterable[Prediction]) -> None:
        for prediction in predictions:
            for head, seen in self._seen.items():
                if head == TOWARD:
                    seen.extend(target.label for target in prediction.toward.values() if not target.whole_text)
                else:
                    seen.append(prediction.most_probable(head))
            self._new += 1
        if self._new >= self._every:
            self._new = 0
            for head, seen in self._seen.items():
                keys = list(self._reference[head])
                counts = Counter(seen)
                p = np.array([self._reference[head][k] for k in keys])
                q = np.array([counts[k] for k in keys], np.float64)
                self._report(head, float(divergence(p, q / max(1.0, q.sum()))))


def _shares(counts: Counter[str]) -> dict[str, float]:
    total = sum(counts.values())
    return {k: n / total for k, n in sorted(counts.items())}


def _bins(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.minimum((scores * CONFIDENCE_BINS).astype(np.int64), CONFIDENCE_BINS - 1)
