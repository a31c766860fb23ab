"""Scores of a bundle on labelled files: accuracy, macro recall and macro F1 per source and head."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.engine import OnnxEngine
from training.config import TrainingConfig
from training.data import Example, load_source


def evaluate_bundle(engine: OnnxEngine, config: TrainingConfig, data: Path) -> dict[str, dict[str, float]]:
    """`result["file/head"]` holds accuracy, macro_recall, macro_f1 and rows, all but rows in [0, 1]."""
    result: dict[str, dict[str, float]] = {}
    for source in config.evaluation:
        examples = load_source(config, source, data, evaluation=True)
        predictions = engine.predict([e.text for e in examples])
        for head, labels in config.heads.items():
            rows = [i for i, e in enumerate(examples) if head in e.targets]
            if rows:
                probabilities = np.array([list(predictions[i].probabilities(head).values()) for i in rows])
                result[f"{source.file.removesuffix('.jsonl.gz')}/{head}"] = score(
                    probabilities, [examples[i] for i in rows], head, len(labels)
                )
    return result


def score(
    probabilities: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    examples: Sequence[Example],
    head: str,
    n_labels: int,
) -> dict[str, float]:
    """Compares among the label sets that the file itself uses: a set's probability is the sum of its classes'.

    `probabilities` is float[rows, n_labels]. So a file with four coarse topics is scored over four.
    """
    sets = sorted({e.targets[head] for e in examples})
    members = np.zeros((n_labels, len(sets)))
    for column, classes in enumerate(sets):
        members[list(classes), column] = 1
    predicted = (probabilities @ members).argmax(1)
    true = np.array([sets.index(e.targets[head]) for e in examples])
    recalls, f1s = [], []
    for column in range(len(sets)):
        hits = float(((predicted == column) & (true == column)).sum())
        actual, said = float((true == column).sum()), float((predicted == column).sum())
        recalls.append(hits / actual)
        f1s.append(2 * hits / (actual + said))
    return {
        "rows": float(len(examples)),
        "accuracy": float((predicted == true).mean()),
        "macro_recall": float(np.mean(recalls)),
        "macro_f1": float(np.mean(f1s)),
    }
