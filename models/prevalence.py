"""What a head says about posts whose true class is known, which makes its scores fit for estimating shares. Pure.

A bundle keeps the first two moments of the probabilities per data set and true class, over rows that it was not
trained on. From them follow, for any set of classes that an alert counts as negative, the mean score of a negative post
and of any other post, and how far the scores of each scatter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

from models.json_reader import JsonReader
from models.json_types import JsonObject


@dataclass(frozen=True, slots=True)
class ScoreGroup:
    """The probabilities of `rows` texts of the data set `source` whose true class is `label`.

    `called` is the share of them that the head calls each class; it, `mean` and `covariance` are in the order of
    `classes`, which are those of the head.
    """

    source: str
    label: str
    rows: int
    classes: tuple[str, ...]
    called: tuple[float, ...]
    mean: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        n = len(self.classes)
        sizes = {len(self.called), len(self.mean), len(self.covariance), *map(len, self.covariance)}
        if not self.rows >= 1 or n < 2 or sizes != {n}:
            raise ValueError(f"group {self.source!r}/{self.label!r}: needs rows, and one number per class")
        finite = all(math.isfinite(value) for row in self.covariance for value in row)
        if not finite or not all(0 <= p <= 1 for p in (*self.mean, *self.called)):
            raise ValueError(f"group {self.source!r}/{self.label!r}: a mean is not a probability")
        if any(row[at] < 0 for at, row in enumerate(self.covariance)):
            raise ValueError(f"group {self.source!r}/{self.label!r}: a variance is below 0")

    def to_json(self) -> JsonObject:
        """The object in the manifest."""
        return {
            "source": self.source,
            "label": self.label,
            "rows": self.rows,
            "classes": list(self.classes),
            "called": list(self.called),
            "mean": list(self.mean),
            "covariance": [list(row) for row in self.covariance],
        }

    @classmethod
    def from_json(cls, value: JsonObject) -> Self:
        """Raises `KeyError`, `TypeError` or `ValueError` for an object that is not a group."""
        fields = JsonReader(value)
        return cls(
            source=fields.text("source"),
            label=fields.text("label"),
            rows=fields.whole("rows"),
            classes=fields.texts("classes"),
            called=fields.numbers("called"),
            mean=fields.numbers("mean"),
            covariance=fields.number_rows("covariance"),
        )
