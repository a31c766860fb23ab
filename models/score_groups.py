"""The score groups of a data set, for the manifest of a bundle. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.prevalence import ScoreGroup

#: A head with more classes has no groups in a manifest.
MAX_CLASSES = 8
#: A group of fewer rows is left out: its moments would be noise.
MIN_ROWS = 20


def score_groups(
    source: str, truth: Sequence[str], probabilities: NDArray[np.floating], classes: Sequence[str]
) -> list[ScoreGroup]:
    """The groups of one data set: `truth[i]` is the true class of row i, `probabilities` is float[rows, n_classes].

    Classes with fewer than `MIN_ROWS` rows and heads with more than `MAX_CLASSES` classes have no group.

    >>> [(g.called, g.mean) for g in score_groups("s", ["a"] * 20, np.tile([0.75, 0.25], (20, 1)), ["a", "b"])]
    [((1.0, 0.0), (0.75, 0.25))]
    """
    if len(classes) > MAX_CLASSES:
        return []
    labels, found = np.array(truth), list[ScoreGroup]()
    for label in classes:
        rows = np.asarray(probabilities, np.float64)[labels == label]
        if len(rows) < MIN_ROWS:
            continue
        called = np.bincount(rows.argmax(1), minlength=len(classes)) / len(rows)
        mean, covariance = rows.mean(0).clip(0, 1), np.cov(rows.T, bias=True)
        found.append(
            ScoreGroup(
                source=source,
                label=label,
                rows=len(rows),
                classes=tuple(classes),
                called=tuple(np.round(called, 6).tolist()),
                mean=tuple(np.round(mean, 6).tolist()),
                covariance=tuple(tuple(row) for row in np.round(covariance, 6).tolist()),
            )
        )
    return found
