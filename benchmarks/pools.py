"""Real posts with known labels, as a model reads them, for `benchmarks.replay`: one half gives the model of the scores.

Each data set is halved at random. The first half makes the score groups, as a bundle's manifest holds them for its data
sets; the second half is replayed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.labelled_rows import all_rows
from benchmarks.simulator import Counts, Floats
from models.engine import OnnxEngine
from models.prevalence import ScoreGroup
from models.score_groups import score_groups

Flags = NDArray[np.bool_]
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
NEGATIVE = "negative"
#: File of each data set, under the names in the tables. The negative label of a file may be 0.
SETS = {"tweets": "tweeteval_sentiment.test", "hotel reviews": "chnsenticorp.test"}
TARGETED = {
    "news": "targeted/newsmtsc.test_mt",
    "restaurants": "targeted/mams.test",
    "cameras": "targeted/zh_camera.test",
    "cars": "targeted/zh_car.test",
}
_BATCH = 256


@dataclass(frozen=True)
class Readings:
    """What a model says about the posts of one data set: its probabilities, float[rows, n_classes]."""

    name: str
    truth: Flags
    classes: tuple[str, ...]
    probabilities: Floats

    @property
    def scores(self) -> Floats:
        return self.probabilities[:, self.classes.index(NEGATIVE)]

    @property
    def called(self) -> Flags:
        return np.asarray(self.probabilities.argmax(1) == self.classes.index(NEGATIVE))

    def halves(self, seed: int = 11) -> tuple[Readings, Readings]:
        first = np.random.default_rng(seed).permutation(len(self.truth)) < len(self.truth) // 2
        return self._only(first), self._only(~first)

    def groups(self) -> list[ScoreGroup]:
        """The score groups of these rows; only negative or not is known of each."""
        other = next(label for label in self.classes if label != NEGATIVE)
        labels = [NEGATIVE if negative else other for negative in self.truth]
        return score_groups(self.name, labels, self.probabilities, self.classes)

    def _only(self, rows: Flags) -> Readings:
        return Readings(self.name, self.truth[rows], self.classes, self.probabilities[rows])


def read_set(name: str, file: str, engine: OnnxEngine) -> Readings:
    """Reads the posts of a file; those with a target by the sentiment toward it if the model has that head."""
    rows = all_rows(DATA / f"{file}.jsonl.gz")
    head = engine.toward if "target" in rows[0] else None
    classes = (head or engine.heads["sentiment"]).labels
    probabilities = []
    for at in range(0, len(rows), _BATCH):
        batch = rows[at : at + _BATCH]
        texts = [row["text"] for row in batch]
        if head is not None:
            mentions = [{"target": [(row["from"], row["to"])]} for row in batch]
            found = [p.toward["target"].probabilities for p in engine.infer(engine.encode(texts, mentions))]
        else:
            found = [p.probabilities("sentiment") for p in engine.predict(texts)]
        probabilities += [[p[label] for label in classes] for p in found]
    truth = [str(row.get("sentiment", row.get("label"))).lower() in {NEGATIVE, "0"} for row in rows]
    return Readings(name, np.array(truth), classes, np.array(probabilities))


class Pool:
    """Real posts of both kinds in a random order, each with its score and whether the model calls it negative."""

    def __init__(self, readings: Readings, seed: int = 5) -> None:
        rng = np.random.default_rng(seed)
        self._called, self._scores = {}, {}
        for kind in (True, False):
            rows = rng.permutation(np.flatnonzero(readings.truth == kind))
            rows = np.tile(rows, 1 + 400_000 // len(rows))
            self._called[kind] = np.concatenate([[0], np.cumsum(readings.called[rows])])
            self._scores[kind] = np.concatenate([[0.0], np.cumsum(readings.scores[rows])])

    def read(self, start: int, posts: Counts, negatives: Counts) -> tuple[Counts, Floats]:
        """Per bucket how many posts the model calls negative, and the sum of their scores.

        The posts come one after the other, from number `start` on.
        """
        called, scores = np.zeros_like(posts), np.zeros(posts.shape)
        for kind, counts in ((True, negatives), (False, posts - negatives)):
            length = (len(self._called[kind]) - 1) // 2
            begins = (start + np.cumsum(counts) - counts) % length
            called += self._called[kind][begins + counts] - self._called[kind][begins]
            scores += self._scores[kind][begins + counts] - self._scores[kind][begins]
        return called, scores


def information(readings: Readings, share: float = 0.2) -> dict[str, float]:
    """The Fisher information about the share that a reading of a post carries, relative to a perfect judge.

    For a reading w it is the squared difference of its means over the variance of w at this share; the best reading is
    the likelihood ratio, taken here over 30 classes of the score with equal numbers of posts.
    """
    truth, score = readings.truth, readings.scores
    odds = share / (1 - share) * (1 - truth.mean()) / truth.mean()
    posterior = score * odds / (score * odds + 1 - score)
    edges = np.quantile(score, np.linspace(0, 1, 31)[1:-1])
    binned = np.searchsorted(edges, score)
    inside, outside = (
        np.bincount(binned[truth == kind], minlength=30) / (truth == kind).sum() for kind in (True, False)
    )
    mixed = share * inside + (1 - share) * outside
    best = ((inside - outside) ** 2 / np.where(mixed > 0, mixed, 1)).sum() * share * (1 - share)
    found = {name: _carried(w, truth, share) for name, w in _weights(readings, posterior).items()}
    return {**found, "best": float(best)}


def _weights(readings: Readings, posterior: Floats) -> dict[str, Floats]:
    called = readings.called.astype(np.float64)
    return {"label": called, "label from .6": called * (readings.scores >= 0.6), "score": readings.scores,
            "score at the share": posterior}  # fmt: skip


def _carried(w: Floats, truth: Flags, share: float) -> float:
    gap = w[truth].mean() - w[~truth].mean()
    between = share * (1 - share) * gap**2
    within = share * w[truth].var() + (1 - share) * w[~truth].var()
    return float(between / (between + within))


def pools_of(readings: Sequence[Readings]) -> tuple[list[ScoreGroup], list[Pool]]:
    """The score groups of the first halves, and pools of the second halves."""
    halves = [one.halves() for one in readings]
    groups = [group for first, _ in halves for group in first.groups()]
    return groups, [Pool(second) for _, second in halves]
