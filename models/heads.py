"""Heads, their classes, and a prediction over them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: The head that judges a mention in a text rather than the text, and its classes.
TOWARD = "toward"
TOWARD_LABELS = ("negative", "neutral", "positive")
#: Memory of a prediction with its dictionaries and its cache key, and of an array without its numbers (measured on
#: CPython 3.11).
_OBJECT_BYTES, _ARRAY_BYTES = 850, 112


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

    __slots__ = ("_best", "_heads", "_probabilities", "model_name", "model_version")

    def __init__(
        self,
        heads: dict[str, Head],
        probabilities: dict[str, NDArray[np.float32]],
        model_name: str = "",
        model_version: str = "",
        best: dict[str, int] | None = None,
    ) -> None:
        """`probabilities[head]` is float32[n_labels] and sums to 1; `best[head]` is the index of the largest."""
        self._heads = heads
        self._probabilities = probabilities
        self._best = {h: int(p.argmax()) for h, p in probabilities.items()} if best is None else best
        self.model_name = model_name
        self.model_version = model_version

    @property
    def heads(self) -> tuple[str, ...]:
        return tuple(self._heads)

    def size_bytes(self) -> int:
        """Estimated memory of the prediction, with its objects and their numbers."""
        return _OBJECT_BYTES + sum(_ARRAY_BYTES + p.nbytes for p in self._probabilities.values())

    def label(self, head: str) -> str:
        """The most probable class of `head`."""
        return self._heads[head].labels[self._best[head]]

    def score(self, head: str) -> float:
        """Probability of `label(head)`, in [0, 1]."""
        return float(self._probabilities[head][self._best[head]])

    def probabilities(self, head: str) -> dict[str, float]:
        """Class name -> probability, in the order of the head's labels."""
        return dict(zip(self._heads[head].labels, self._probabilities[head].tolist(), strict=True))


def predictions(
    heads: dict[str, Head], logits: NDArray[np.float32], parts: Sequence[int], model_name: str, model_version: str
) -> list[Prediction]:
    """One prediction per text from float32[sum(parts), n_classes] logits, with one head after another.

    Text i has `parts[i]` consecutive rows; its calibrated probabilities are the mean over them.
    """
    if not parts:
        return []
    starts = np.cumsum([0, *parts[:-1]])
    whole = np.empty((len(parts), logits.shape[1]), np.float32)
    spans: dict[str, tuple[int, int]] = {}
    best: dict[str, list[int]] = {}
    at = 0
    for name, head in heads.items():
        spans[name] = span = (at, at + len(head.labels))
        at = span[1]
        part = logits[:, slice(*span)] / head.temperature
        exponent = np.exp(part - part.max(1, keepdims=True))
        probabilities = exponent / exponent.sum(1, keepdims=True)
        if len(logits) > len(parts):
            probabilities = np.add.reduceat(probabilities, starts, axis=0) / np.array(parts)[:, None]
        whole[:, slice(*span)] = probabilities
        best[name] = probabilities.argmax(1).tolist()
    found = []
    for i, row in enumerate(whole):
        # A view would keep the whole batch in memory for as long as one of its texts is cached.
        own = row.copy()
        each = {name: own[a:b] for name, (a, b) in spans.items()}
        found.append(Prediction(heads, each, model_name, model_version, {name: best[name][i] for name in spans}))
    return found
