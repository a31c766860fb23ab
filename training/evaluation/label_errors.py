"""Labels that look wrong: rows where out-of-fold predictions say another class.

Ranked by the margin of the other class (Northcutt, Jiang and Chuang 2021, "Confident Learning", rank by normalised
margin), with a linear model on character n-grams, which needs no GPU and no language.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from training.data.examples import Example

FOLDS = 5


@dataclass(frozen=True, slots=True)
class LabelError:
    """A text whose `given` class looks wrong; `margin` in [0, 1] says by how much the suggested class is likelier."""

    head: str
    text: str
    given: str
    suggested: str
    margin: float


def label_errors(examples: Sequence[Example], heads: Mapping[str, Sequence[str]], limit: int) -> list[LabelError]:
    """At most `limit` rows, the most suspicious first; classes of fewer than 5 rows are not judged."""
    found: list[LabelError] = []
    for head, labels in heads.items():
        rows = [e for e in examples if len(e.targets.get(head, ())) == 1]
        given = np.array([e.targets[head][0] for e in rows])
        sizes = np.bincount(given, minlength=len(labels)) if rows else np.zeros(len(labels))
        judged = [i for i, c in enumerate(given) if sizes[c] >= FOLDS]
        if len(set(given[judged])) < 2:
            continue
        rows, given = [rows[i] for i in judged], given[judged]
        features = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), min_df=2, sublinear_tf=True)
        matrix = features.fit_transform([e.text for e in rows])
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=17)
        model = LogisticRegression(C=10.0, max_iter=300)
        probabilities = cross_val_predict(model, matrix, given, cv=folds, method="predict_proba")
        classes = np.unique(given)
        column = np.searchsorted(classes, given)
        mine = probabilities[np.arange(len(rows)), column]
        others = probabilities.copy()
        others[np.arange(len(rows)), column] = 0.0
        said = classes[others.argmax(1)]
        margin = others.max(1) - mine
        for i in np.flatnonzero(margin > 0):
            error = round(float(margin[i]), 4)
            found.append(LabelError(head, rows[i].text, labels[given[i]], labels[said[i]], error))
    return sorted(found, key=lambda each: -each.margin)[:limit]
