"""The score groups of a bundle: moments of the probabilities per data set and true class."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from models.prevalence import ScoreGroup
from models.score_groups import MAX_CLASSES, MIN_ROWS, score_groups

CLASSES = ["negative", "neutral", "positive"]


def test_groups_hold_the_moments_of_each_true_class() -> None:
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet([2, 1, 1], 90)
    truth = ["negative"] * 50 + ["positive"] * 40
    negative, positive = score_groups("tweets", truth, probabilities, CLASSES)
    assert (negative.source, negative.label, negative.rows) == ("tweets", "negative", 50)
    assert (positive.label, positive.rows) == ("positive", 40)
    assert negative.called == pytest.approx(np.bincount(probabilities[:50].argmax(1), minlength=3) / 50)
    assert negative.mean == pytest.approx(probabilities[:50].mean(0), abs=1e-6)
    assert np.array(negative.covariance) == pytest.approx(np.cov(probabilities[:50].T, bias=True), abs=1e-6)


def test_a_class_with_few_rows_has_no_group() -> None:
    truth = ["negative"] * MIN_ROWS + ["positive"] * (MIN_ROWS - 1)
    groups = score_groups("tweets", truth, np.full((len(truth), 3), 1 / 3), CLASSES)
    assert [group.label for group in groups] == ["negative"]


def test_a_head_of_many_classes_has_no_groups() -> None:
    classes = [f"c{i}" for i in range(MAX_CLASSES + 1)]
    assert score_groups("news", ["c0"] * 50, np.full((50, len(classes)), 1 / len(classes)), classes) == []


def test_json_gives_the_group_back() -> None:
    group = score_groups("tweets", ["negative"] * 30, np.random.default_rng(2).dirichlet([1, 1, 1], 30), CLASSES)[0]
    assert ScoreGroup.from_json(json.loads(json.dumps(group.to_json()))) == group


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": 0},
        {"mean": [1.2, -0.2]},
        {"mean": [1.0]},
        {"mean": [float("nan"), 0.5]},
        {"called": [1.0]},
        {"covariance": [[0.1, 0.0]]},
        {"covariance": [[-0.1, 0.0], [0.0, 0.1]]},
        {"rows": float("nan")},
    ],
)
def test_what_is_not_a_group_is_refused(changes: dict[str, Any]) -> None:
    value: dict[str, Any] = {"source": "s", "label": "a", "rows": 20, "classes": ["a", "b"], "called": [1, 0]}
    value |= {"mean": [0.5, 0.5], "covariance": [[0.1, 0.0], [0.0, 0.1]]}
    with pytest.raises(ValueError, match="group 's'/'a'|rows is float but must be an integer"):
        ScoreGroup.from_json({**value, **changes})
