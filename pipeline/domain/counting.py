"""What is counted: keys, buckets, and which posts count as negative."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass

BUCKET_S = 300


@dataclass(frozen=True, slots=True)
class NegativeDefinition:
    """Which classes of which head count as negative, and from what `negative_score` in [0, 1] on.

    Without `negative`, evidence is every post. `sources` are counted by themselves as well.
    """

    head: str = "sentiment"
    negative: tuple[str, ...] = ("negative",)
    sources: tuple[str, ...] = ()
    score_from: float = 0.0

    def score(self, probabilities: Mapping[str, float]) -> float:
        """The `negative_score`: the probability of the negative classes together, in [0, 1]."""
        return min(1.0, sum(probabilities.get(label, 0.0) for label in self.negative))

    def holds(self, labels: Mapping[str, str], negative_score: float) -> bool:
        """Whether a post with these labels counts as negative."""
        return labels.get(self.head) in self.negative and negative_score >= self.score_from


@dataclass(frozen=True, slots=True)
class Cell:
    """Posts (reposts left out) of one topic, and of one subject where `subject` is not empty, in one bucket.

    `bucket` is its start in seconds since the epoch, a multiple of `BUCKET_S`. Where `source` is not empty, of that
    source only, and of a topic or a subject.
    """

    bucket: int
    topic: str
    subject: str
    posts: int
    negatives: int
    source: str = ""


@dataclass(frozen=True, slots=True)
class Scope:
    """The posts an alert key stands for: a topic, a subject, a source, or two of them at once; empty means any."""

    topic: str = ""
    subject: str = ""
    source: str = ""

    @property
    def is_single(self) -> bool:
        """Whether it is one topic, one subject or one source as a whole."""
        return [self.topic, self.subject, self.source].count("") == 2

    def holds(self, other: Scope) -> bool:
        """Whether every post of the other key is one of this key."""
        return all(not mine or mine == its for mine, its in zip(astuple(self), astuple(other), strict=True))


EVERYTHING = Scope()


def bucket_start(epoch_s: float) -> int:
    """The start of the bucket that contains a moment, both in seconds since the epoch.

    >>> bucket_start(899.9), bucket_start(900)
    (600, 900)
    """
    return int(epoch_s // BUCKET_S) * BUCKET_S
