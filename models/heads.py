"""Heads, their classes, and a prediction over them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from models.irony import IRONIC, IRONY, IRONY_LABELS, Doubt, doubted

#: The head that judges the sentiment of the whole text.
SENTIMENT = "sentiment"
#: The head that judges a mention in a text rather than the text, and its classes.
TOWARD = "toward"
TOWARD_LABELS = ("negative", "neutral", "positive")
#: The label of a text for which no class of a head is probable enough.
OTHER = "other"
#: Memory of a prediction with its dictionaries and its cache key, and of an array without its numbers (measured on
#: CPython 3.11).
_OBJECT_BYTES, _ARRAY_BYTES = 850, 112
#: Memory of the prediction toward one subject with its numbers and its share of the dictionary (measured likewise).
_TARGET_BYTES = 550


@dataclass(frozen=True, slots=True)
class Head:
    """One classification head.

    `labels` keeps the order of the model's outputs; `temperature` (> 0) divides the logits before the
    softmax (Guo et al. 2017, "On Calibration of Modern Neural Networks"). A text whose most probable class has a
    probability below `abstain_below` gets the label `OTHER` (the reject option of Chow 1970, "On optimum recognition
    error and reject tradeoff"). `doubt` says how the head `irony` changes the sentiment of the text.
    """

    name: str
    labels: tuple[str, ...]
    temperature: float = 1.0
    abstain_below: float = 0.0
    doubt: Doubt | None = None

    def __post_init__(self) -> None:
        if len(self.labels) < 2:
            raise ValueError(f"head {self.name!r} needs at least two labels, has {len(self.labels)}")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"head {self.name!r} names a label twice")
        if not self.temperature > 0:
            raise ValueError(f"head {self.name!r}: temperature must be > 0, is {self.temperature}")
        if not 0 <= self.abstain_below < 1:
            raise ValueError(f"head {self.name!r}: abstain_below must be in [0, 1), is {self.abstain_below}")
        if self.doubt and (self.name, self.labels) != (IRONY, IRONY_LABELS):
            raise ValueError(f"head {self.name!r}: doubt belongs to the head {IRONY!r} with {', '.join(IRONY_LABELS)}")


@dataclass(frozen=True, slots=True)
class TargetPrediction:
    """The calibrated sentiment toward one subject of a text; `score` is the probability of `label`.

    `whole_text` says that it is the sentiment of the whole text, because the model could not read any mention.
    """

    label: str
    score: float
    probabilities: Mapping[str, float]
    whole_text: bool = False


NO_TOWARD: Mapping[str, TargetPrediction] = MappingProxyType({})


class Prediction:
    """Calibrated class probabilities of one text, per head, and the sentiment `toward` each subject by name.

    `toward` is empty where the model has no such head or the text came without mentions.
    """

    __slots__ = ("_best", "_heads", "_probabilities", "model_name", "model_version", "toward")

    def __init__(
        self,
        heads: dict[str, Head],
        probabilities: dict[str, NDArray[np.float32]],
        model_name: str = "",
        model_version: str = "",
        best: dict[str, int] | None = None,
        toward: Mapping[str, TargetPrediction] = NO_TOWARD,
    ) -> None:
        """`probabilities[head]` is float32[n_labels] and sums to 1; `best[head]` is the index of the largest."""
        self._heads = heads
        self._probabilities = probabilities
        self._best = {h: int(p.argmax()) for h, p in probabilities.items()} if best is None else best
        self.model_name = model_name
        self.model_version = model_version
        self.toward = toward

    @property
    def heads(self) -> tuple[str, ...]:
        return tuple(self._heads)

    def size_bytes(self) -> int:
        """Estimated memory of the prediction, with its objects and their numbers."""
        heads = sum(_ARRAY_BYTES + p.nbytes for p in self._probabilities.values())
        return _OBJECT_BYTES + heads + _TARGET_BYTES * len(self.toward)

    def label(self, head: str) -> str:
        """The most probable class of `head` by `meant`; `OTHER` where its score is below the head's `abstain_below`."""
        if self._moved(head):
            meant = self.meant(head)
            return max(meant, key=meant.__getitem__)
        return OTHER if self.score(head) < self._heads[head].abstain_below else self.most_probable(head)

    def score(self, head: str) -> float:
        """The probability of the most probable class of `head` by `meant`, in [0, 1]."""
        if self._moved(head):
            return max(self.meant(head).values())
        return float(self._probabilities[head][self._best[head]])

    def most_probable(self, head: str) -> str:
        """The class of `head` that the model finds most probable, however improbable it is."""
        return self._heads[head].labels[self._best[head]]

    def meant(self, head: str) -> dict[str, float]:
        """The probabilities of `head`, with sentiment doubted where the text is probably ironic."""
        return doubted(self.probabilities(head), self._moved(head))

    def meant_toward(self, subject: str) -> TargetPrediction | None:
        """The sentiment toward a subject, doubted as `meant` doubts that of the text; None if it was not judged."""
        target, moved = self.toward.get(subject), self._moved(SENTIMENT)
        if target is None or not moved:
            return target
        probabilities = doubted(target.probabilities, moved)
        label = max(probabilities, key=probabilities.__getitem__)
        return TargetPrediction(label, probabilities[label], probabilities, target.whole_text)

    def _moved(self, head: str) -> float:
        """Share of the positive probability of `head` that irony makes negative; 0 for any head but sentiment."""
        doubt = self._heads[IRONY].doubt if head == SENTIMENT and IRONY in self._heads else None
        return doubt.moved(self.probabilities(IRONY)[IRONIC]) if doubt else 0.0

    def probabilities(self, head: str) -> dict[str, float]:
        """Class name -> probability by the model, in the order of the head's labels."""
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


def with_toward(
    found: Sequence[Prediction],
    head: Head,
    logits: NDArray[np.float32],
    mentions: Sequence[Mapping[str, Sequence[object]]],
) -> None:
    """Gives each prediction the sentiment toward the subjects of its text; `logits` are float32[mentions, 3].

    The rows of `logits` are those of all mentions, text by text and subject by subject. The mean of the logits over the
    mentions of a subject counts. A subject without mentions gets the head `sentiment` of the whole text, where that has
    the same classes.
    """
    counts = [len(places) for subjects in mentions for places in subjects.values() if places]
    judged = iter(_judged(head, logits, counts))
    for prediction, subjects in zip(found, mentions, strict=True):
        if not subjects:
            continue
        toward: dict[str, TargetPrediction] = {}
        for subject, places in subjects.items():
            if places:
                toward[subject] = next(judged)
            elif (whole := _whole_text(prediction, head)) is not None:
                toward[subject] = whole
        prediction.toward = toward


def _judged(head: Head, logits: NDArray[np.float32], counts: Sequence[int]) -> list[TargetPrediction]:
    if not counts:
        return []
    starts = np.cumsum([0, *counts[:-1]])
    means = np.add.reduceat(logits, starts, axis=0) / np.array(counts)[:, None] / head.temperature
    exponent = np.exp(means - means.max(1, keepdims=True))
    rows = (exponent / exponent.sum(1, keepdims=True)).tolist()
    best = means.argmax(1).tolist()
    return [
        TargetPrediction(head.labels[i], row[i], dict(zip(head.labels, row, strict=True)))
        for i, row in zip(best, rows, strict=True)
    ]


def _whole_text(prediction: Prediction, head: Head) -> TargetPrediction | None:
    if SENTIMENT not in prediction.heads:
        return None
    probabilities = prediction.probabilities(SENTIMENT)
    if set(probabilities) != set(head.labels):
        return None
    label = prediction.most_probable(SENTIMENT)
    return TargetPrediction(label, probabilities[label], probabilities, whole_text=True)
