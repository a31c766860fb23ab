"""Scores of predicted probabilities against labels: per class, per head, calibration, intervals. Pure, on numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data.examples import Example

Probabilities = NDArray[np.float32]
RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What was said and what is true of the rows that have a label for a head, as indexes into `classes`.

    `confidence` is the probability of what was said, in [0, 1].
    """

    classes: tuple[tuple[int, ...], ...]
    rows: NDArray[np.int64]
    said: NDArray[np.int64]
    true: NDArray[np.int64]
    confidence: NDArray[np.float64]


def outcomes(
    probabilities: Probabilities, examples: Sequence[Example], head: str, *, every_class: bool = False
) -> Outcomes:
    """What was said of the rows, compared among all classes, or among the label sets that the rows themselves use.

    `probabilities` is float[rows, classes]. A set's probability is the sum of its classes': so a research file with
    four coarse topics, or with two sentiments of three, is scored as its own benchmark is. `every_class` needs rows
    with one class each.
    """
    rows = np.array([i for i, e in enumerate(examples) if head in e.targets], np.int64)
    used = sorted({examples[i].targets[head] for i in rows})
    sets = tuple((i,) for i in range(probabilities.shape[1])) if every_class else tuple(used)
    members = np.zeros((probabilities.shape[1], len(sets)))
    for column, classes in enumerate(sets):
        members[list(classes), column] = 1
    merged = probabilities[rows] @ members if len(rows) else np.zeros((0, max(1, len(sets))))
    index = {classes: i for i, classes in enumerate(sets)}
    true = np.array([index[examples[i].targets[head]] for i in rows], np.int64)
    said = merged.argmax(1)
    return Outcomes(sets, rows, said, true, merged.max(1, initial=0.0))


@dataclass(frozen=True, slots=True)
class Scores:
    """Of one head on one set of rows; all but `rows` and `confusion` in [0, 1].

    Macro figures are means over the classes that have rows. `confusion[i][j]` counts rows of class i that were
    called j; the lists go by class.
    """

    rows: int
    accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    calibration_error: float
    precision: list[float]
    recall: list[float]
    f1: list[float]
    confusion: list[list[int]]


def scores(o: Outcomes) -> Scores:
    """All figures of one head."""
    n = len(o.classes)
    confusion = np.zeros((n, n), np.int64)
    np.add.at(confusion, (o.true, o.said), 1)
    precision, recall, f1 = per_class(confusion)
    there = confusion.sum(1) > 0 if confusion.any() else np.ones(n, np.bool_)
    return Scores(
        rows=len(o.true),
        accuracy=float((o.said == o.true).mean()) if len(o.true) else 0.0,
        macro_precision=float(precision[there].mean()),
        macro_recall=float(recall[there].mean()),
        macro_f1=float(f1[there].mean()),
        calibration_error=calibration_error(o.confidence, o.said == o.true),
        precision=precision.tolist(),
        recall=recall.tolist(),
        f1=f1.tolist(),
        confusion=confusion.tolist(),
    )


def per_class(confusion: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Precision, recall and F1 per class from counts [..., true, said]; 0 where a class was never said or true."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    said, true = confusion.sum(-2), confusion.sum(-1)
    precision = hits / np.maximum(said, 1)
    recall = hits / np.maximum(true, 1)
    return precision, recall, 2 * hits / np.maximum(said + true, 1)


def wrong_share(o: Outcomes, label: int) -> float:
    """The share of wrong rows among those that were called the class `label`, in [0, 1]; 0 where none was."""
    called = np.array([label in o.classes[i] for i in o.said], np.bool_)
    return float((o.said != o.true)[called].mean()) if called.any() else 0.0


def macro_f1(probabilities: Probabilities, examples: Sequence[Example], head: str) -> float:
    """Mean F1 over the classes that the rows use."""
    single = all(len(e.targets.get(head, (0,))) == 1 for e in examples)
    return scores(outcomes(probabilities, examples, head, every_class=single)).macro_f1


def calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_], bins: int = 15) -> float:
    """Expected calibration error over `bins` of equal width (Naeini et al. 2015), in [0, 1]."""
    if not len(right):
        return 0.0
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    sizes = np.bincount(bin_of, minlength=bins)
    gaps = np.abs(np.bincount(bin_of, confidence, bins) - np.bincount(bin_of, right.astype(float), bins))
    return float(gaps[sizes > 0].sum() / len(right))


def accuracy_of(said: NDArray[np.int64], true: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Accuracy along the last axis."""
    del classes
    result: NDArray[np.float64] = (said == true).mean(-1)
    return result


def macro_f1_of(said: NDArray[np.int64], true: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Macro F1 along the last axis of [resamples, rows], over the classes that the resample has rows of."""
    flat = (np.arange(len(said))[:, None] * classes + true) * classes + said
    confusion = np.bincount(flat.ravel(), minlength=len(said) * classes**2).reshape(len(said), classes, classes)
    there = confusion.sum(-1) > 0
    result: NDArray[np.float64] = (per_class(confusion)[2] * there).sum(-1) / there.sum(-1)
    return result


Figure = Callable[[NDArray[np.int64], NDArray[np.int64], int], NDArray[np.float64]]


def interval(o: Outcomes, figure: Figure, *, seed: int = 17, level: float = 0.95) -> tuple[float, float]:
    """Bootstrap percentile interval of a figure over the rows (Efron 1979)."""
    values = figure(*_drawn(o, seed), len(o.classes))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_interval(
    one: Outcomes, other: Outcomes, figure: Figure, *, seed: int = 17, level: float = 0.95
) -> tuple[float, float, float]:
    """(low, mean, high) of figure(other) - figure(one) over the same resampled rows."""
    if one.classes != other.classes or not np.array_equal(one.rows, other.rows):
        raise ValueError("a paired comparison needs the same rows and classes")
    differences = figure(*_drawn(other, seed), len(other.classes)) - figure(*_drawn(one, seed), len(one.classes))
    low, high = np.quantile(differences, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(differences.mean()), float(high)


def _drawn(o: Outcomes, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    picks = np.random.default_rng(seed).integers(0, len(o.true), (RESAMPLES, len(o.true)))
    return o.said[picks], o.true[picks]
