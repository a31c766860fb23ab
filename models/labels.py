"""Heads, their classes, and a prediction over them. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: A prediction with its dictionary and its key in a cache; an array without its numbers (CPython 3.11, measured).
_OBJECT_BYTES, _ARRAY_BYTES = 500, 112


@dataclass(frozen=True, slots=True)
class Head:
    """One classification head.

    `labels` keeps the order of the model's outputs; `temperature` (> 0) divides the logits before the
    softmax (Guo et al. 2017, "On Calibration of Modern Neural Networks").
    """

    name: str
    labels: tuple[str, ...]
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if len(self.labels) < 2:
            raise ValueError(f"head {self.name!r} needs at least two labels, has {len(self.labels)}")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"head {self.name!r} names a label twice")
        if not self.temperature > 0:
            raise ValueError(f"head {self.name!r}: temperature must be > 0, is {self.temperature}")


class Prediction:
    """Calibrated class probabilities of one text, per head."""

    __slots__ = ("_heads", "_probabilities", "model_name", "model_version")

    def __init__(
        self,
        heads: dict[str, Head],
        probabilities: dict[str, NDArray[np.float32]],
        model_name: str = "",
        model_version: str = "",
    ) -> None:
        """`probabilities[head]` is float32[n_labels], summing to 1; the model is the one that made them."""
        self._heads = heads
        self._probabilities = probabilities
        self.model_name = model_name
        self.model_version = model_version

    @property
    def heads(self) -> tuple[str, ...]:
        return tuple(self._heads)

    def size_bytes(self) -> int:
        """Memory that this takes, estimated: objects and the numbers in them."""
        return _OBJECT_BYTES + sum(_ARRAY_BYTES + p.nbytes for p in self._probabilities.values())

    def label(self, head: str) -> str:
        """The most probable class of `head`."""
        return self._heads[head].labels[int(self._probabilities[head].argmax())]

    def score(self, head: str) -> float:
        """Probability of `label(head)`, in [0, 1]."""
        return float(self._probabilities[head].max())

    def probabilities(self, head: str) -> dict[str, float]:
        """Class name -> probability, in the head's own order."""
        return dict(zip(self._heads[head].labels, map(float, self._probabilities[head]), strict=True))
