"""Which score model reads which key: that of the whole text, or that of the sentiment toward a subject. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.prevalence import ScoreGroup
from pipeline.alerting.detection.score_model import COUNTED, ScoreModel
from pipeline.domain.counting import TOWARD_HEAD, NegativeDefinition, Scope


class ScoreModels(NamedTuple):
    """The model of the keys that count whole texts, and that of the keys that count the sentiment toward a subject."""

    text: ScoreModel = COUNTED
    toward: ScoreModel = COUNTED

    def numbers(self, scopes: Sequence[Scope]) -> NDArray[np.int64]:
        """The position of the model of each key."""
        if self.text == self.toward:
            return np.zeros(len(scopes), np.int64)
        return np.array([bool(scope.subject) for scope in scopes], np.int64)


def score_models(prevalence: Mapping[str, Sequence[ScoreGroup]], definition: NegativeDefinition) -> ScoreModels:
    """The models that a bundle with these groups per head gives; a head without groups counts labels.

    A subject is read by the sentiment toward it where the bundle has that head.
    """
    text = _model(prevalence.get(definition.head, ()), definition)
    groups = prevalence.get(TOWARD_HEAD, ()) if definition.counts_toward else ()
    return ScoreModels(text, _model(groups, definition) if groups else text)


def _model(groups: Sequence[ScoreGroup], definition: NegativeDefinition) -> ScoreModel:
    model = ScoreModel.of(groups, definition.negative)
    if not definition.score_from:
        return model
    # The labels that count are then not those of the bundle's groups, and say nothing about a key's kind of text.
    return replace(model, negative_called=(), other_called=())
