"""One temperature per head, fitted on held-out rows (Guo et al. 2017, "On Calibration of Modern Neural Networks")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from models.engine import OnnxEngine
from models.heads import TOWARD, TOWARD_LABELS
from training.data.examples import Example
from training.evaluation.evaluate import mention_probabilities

_MIN_ROWS = 20


def fit_temperature(logits: NDArray[np.float32], allowed: NDArray[np.bool_]) -> float:
    """The temperature in [0.5, 3] that minimises the set cross-entropy, by a grid.

    `logits` is float32[rows, classes], `allowed` bool of the same shape with at least one class per row.
    """

    def loss(temperature: float) -> float:
        scaled = logits / temperature
        log_all = np.logaddexp.reduce(scaled, axis=1)
        log_hit = np.logaddexp.reduce(np.where(allowed, scaled, -np.inf), axis=1)
        return float((log_all - log_hit).mean())

    return float(min(np.geomspace(0.5, 3.0, 60), key=loss))


def fit_temperatures(
    engine: OnnxEngine, heads: Mapping[str, Sequence[str]], examples: Sequence[Example]
) -> dict[str, float]:
    """Per head, on the labelled rows given; 1 where fewer than 20 are labelled. `engine` has temperatures 1."""
    fitted = dict.fromkeys(heads, 1.0)
    predictions = engine.predict([e.text for e in examples])
    for head, labels in heads.items():
        rows = [i for i, e in enumerate(examples) if head in e.targets]
        if len(rows) < _MIN_ROWS:
            continue
        allowed = np.zeros((len(rows), len(labels)), np.bool_)
        for row, i in enumerate(rows):
            allowed[row, list(examples[i].targets[head])] = True
        probabilities = np.array([list(predictions[i].probabilities(head).values()) for i in rows], np.float32)
        fitted[head] = fit_temperature(np.log(np.clip(probabilities, 1e-9, 1)), allowed)
    mentions, judged = mention_probabilities(engine, examples).get(TOWARD, ((), ()))
    if len(mentions) >= _MIN_ROWS:
        allowed = np.array([[c in e.targets[TOWARD] for c in range(len(TOWARD_LABELS))] for e in mentions])
        fitted[TOWARD] = fit_temperature(np.log(np.clip(judged, 1e-9, 1)), allowed)
    return fitted
