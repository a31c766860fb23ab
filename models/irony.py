"""Irony turns what sentiment reads as positive into doubt. Pure.

"So glad my phone doubles as a heater" reads as praise to a model of sentiment. Where a head `irony` says that a text is
probably ironic, part of the positive probability belongs to the negative class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: The head that judges whether a text is ironic, its classes, and the class of ironic texts.
IRONY = "irony"
IRONY_LABELS = ("not", "irony")
IRONIC = IRONY_LABELS[1]
NEGATIVE, POSITIVE = "negative", "positive"


@dataclass(frozen=True, slots=True)
class Doubt:
    """From which probability of irony on (`threshold`) sentiment is doubted, and how often such irony is meant badly.

    `weight` in [0, 1] is the share of the ironic texts read as positive that mean something negative.
    """

    threshold: float
    weight: float

    def __post_init__(self) -> None:
        if not (0 <= self.threshold <= 1 and 0 <= self.weight <= 1):
            raise ValueError(f"doubt: threshold and weight must be in [0, 1], are {self.threshold} and {self.weight}")

    def moved(self, irony: float) -> float:
        """Share of the positive probability that is negative, for a text that is ironic with this probability."""
        return self.weight * irony if irony >= self.threshold else 0.0


def doubted(probabilities: Mapping[str, float], moved: float) -> dict[str, float]:
    """The probabilities of the classes of sentiment with this share of `positive` moved to `negative`.

    >>> doubted({"negative": 0.125, "neutral": 0.125, "positive": 0.75}, 0.5)
    {'negative': 0.5, 'neutral': 0.125, 'positive': 0.375}
    """
    if not {NEGATIVE, POSITIVE} <= probabilities.keys():
        return dict(probabilities)
    share = probabilities[POSITIVE] * moved
    return {
        **probabilities,
        NEGATIVE: probabilities[NEGATIVE] + share,
        POSITIVE: probabilities[POSITIVE] - share,
    }
