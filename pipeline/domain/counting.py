"""Keys, buckets and cells of counts, and which posts count as negative. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field

BUCKET_S = 300
#: The head of the sentiment toward a subject, and its classes.
TOWARD_HEAD = "toward"
TOWARD_CLASSES = ("negative", "neutral", "positive")


@dataclass(frozen=True, slots=True)
class NegativeDefinition:
    """A post is negative if its class of `head` is one of `negative` and its `negative_score` is at least `score_from`.

    `score_from` is in [0, 1]. If `negative` is empty, every post is evidence. `sources` have counts of their own.
    The alert rule counts at most `posts_per_voice` posts of one author or family of near-copies (0: all of them).
    """

    head: str = "sentiment"
    negative: tuple[str, ...] = ("negative",)
    sources: tuple[str, ...] = ()
    score_from: float = 0.0
    posts_per_voice: int = 3

    def score(self, probabilities: Mapping[str, float]) -> float:
        """The `negative_score`: the probability of the negative classes together, in [0, 1]."""
        return min(1.0, sum(probabilities.get(label, 0.0) for label in self.negative))

    def holds(self, labels: Mapping[str, str], negative_score: float) -> bool:
        """Whether a post with these labels counts as negative."""
        return labels.get(self.head) in self.negative and negative_score >= self.score_from

    @property
    def counts_toward(self) -> bool:
        """Whether a key with a subject counts the sentiment toward it, rather than that of the whole text.

        The sentiment toward a subject has the classes `TOWARD_CLASSES`, and a definition that names another cannot ask
        for it.
        """
        return self.head == "sentiment" and bool(self.negative) and set(self.negative) <= set(TOWARD_CLASSES)

    def score_of(self, label: str) -> float:
        """The negative score of a post that a person gave this class toward a subject."""
        return float(label in (self.negative if self.counts_toward else ("negative",)))

    def holds_toward(self, label: str, binned_score: float) -> bool:
        """Whether a post with this class and this binned negative score toward a subject is negative toward it."""
        return label in self.negative and binned_score >= self.score_from


@dataclass(frozen=True, slots=True)
class Cell:
    """The posts of one topic in one bucket, reposts left out, and how many of them are negative.

    `bucket` is its start in seconds since the epoch, a multiple of `BUCKET_S`. If `subject` is not empty, the cell
    counts only the posts that name this subject; if `source` is not empty, only the posts of this source. A cell of a
    source and a subject counts all topics, and its `topic` is empty.

    `score_sum` adds up the posts' negative scores. In a cell of a subject, `negatives` and `score_sum` are those toward
    the subject. Two cells are equal whatever their `score_sum`, because a sum of floats depends on the order.
    """

    bucket: int
    topic: str
    subject: str
    posts: int
    negatives: int
    source: str = ""
    score_sum: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class Scope:
    """The posts of an alert key: those of a topic, a subject, a source, or two of them at once; empty means any."""

    topic: str = ""
    subject: str = ""
    source: str = ""

    @property
    def is_single(self) -> bool:
        """Whether it is the whole of one topic, one subject or one source."""
        return [self.topic, self.subject, self.source].count("") == 2

    def holds(self, other: Scope) -> bool:
        """Whether every post of the other key also belongs to this key."""
        return all(not mine or mine == its for mine, its in zip(astuple(self), astuple(other), strict=True))


EVERYTHING = Scope()


def bucket_start(epoch_s: float) -> int:
    """The start of the bucket that contains a moment, both in seconds since the epoch.

    >>> bucket_start(899.9), bucket_start(900)
    (600, 900)
    """
    return int(epoch_s // BUCKET_S) * BUCKET_S
