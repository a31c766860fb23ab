"""What a training made and how good it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from models.json_types import JsonObject
from training.data.dataset import Report
from training.evaluation.evaluate import SetScores


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """The scores are by `set/head`; `before` holds those of the base, if it is a bundle with the same heads.

    `robustness` is the macro F1 by head and kind of noise. `data` says what the labelled files held; None for a recipe.
    """

    name: str
    version: str
    base: str
    heads: dict[str, list[str]]
    settings: JsonObject
    minutes: float
    peak_memory_mb: int
    parameters: int
    precision: str
    int8_agreement: float
    temperatures: dict[str, float]
    seconds_per_1000_posts: float
    before: dict[str, SetScores]
    after: dict[str, SetScores]
    robustness: dict[str, dict[str, float]]
    data: Report | None

    def to_json(self) -> JsonObject:
        """As in `report.json`."""
        return {
            "name": self.name,
            "version": self.version,
            "base": self.base,
            "heads": self.heads,
            "settings": self.settings,
            "minutes": self.minutes,
            "peak_memory_mb": self.peak_memory_mb,
            "parameters": self.parameters,
            "precision": self.precision,
            "int8_agreement": self.int8_agreement,
            "temperatures": self.temperatures,
            "seconds_per_1000_posts": self.seconds_per_1000_posts,
            "before": scores_json(self.before),
            "after": scores_json(self.after),
            "robustness": self.robustness,
            "data": self.data.to_json() if self.data else {},
        }


def scores_json(found: Mapping[str, SetScores]) -> dict[str, JsonObject]:
    """The scores by `set/head`, as in `evaluate --json`."""
    return {key: each.to_json() for key, each in found.items()}
