"""The values that travel through the pipeline. They are immutable; times are aware UTC datetimes.

Values that exist once per record are named tuples, because Python makes them three times as fast as frozen dataclasses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

from models.text import full_text

#: Stands for an event time that is not known yet.
EPOCH = datetime.fromtimestamp(0, UTC)
#: A time between these is plausible for a post or a record.
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
EARLIEST_S, LATEST_S = int(EARLIEST.timestamp()), int(LATEST.timestamp())


class Origin(NamedTuple):
    """The position of a record in Kafka."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


class Record(NamedTuple):
    """A Kafka record as it was received; `timestamp_ms` is its own timestamp, in milliseconds since the epoch.

    `replayed` counts how often the record was replayed from the dead letters. `by_reference` is the size in bytes and
    the SHA-256 (hex) of a value that is too large to be held in memory; `value` is then empty.
    """

    origin: Origin
    timestamp_ms: int
    value: bytes
    replayed: int = 0
    by_reference: tuple[int, str] | None = None

    @property
    def time(self) -> datetime | None:
        """The time of `timestamp_ms`, even if that is in microseconds; None if it is not a plausible time.

        Brokers accept any number as a timestamp, and old clients write -1.
        """
        for unit in (1_000, 1_000_000):
            if EARLIEST_S * unit <= (self.timestamp_ms or 0) < LATEST_S * unit:
                return datetime.fromtimestamp(self.timestamp_ms / unit, UTC)
        return None


class Post(NamedTuple):
    """A decoded post; its `event_time` depends only on the record (see `codec.decode`).

    `ignored` names the fields of the record that have a value which cannot be used.
    """

    id: str
    source: str
    native_id: str
    kind: str
    url: str
    title: str
    text: str
    author: str
    lang: str
    event_time: datetime
    time_suspect: bool
    content_hash: str
    reposts: int
    likes: int
    comments: int
    extra: dict[str, str]
    origin: Origin
    ignored: tuple[str, ...] = ()

    @property
    def full_text(self) -> str:
        """Title and text as the classifier reads them."""
        return full_text(self.title, self.text)


def document_id(source: str, native: str) -> str:
    """The SHA-256 (hex) of the source and the native id or URL, so that a post that is sent twice is one document."""
    return hashlib.sha256(f"{source}\x00{native}".encode()).hexdigest()


class Toward(NamedTuple):
    """The sentiment toward one subject of a post: the class, its probability, and that of the negative classes.

    If `whole_text` is true, no model judged the subject by itself, and the values are those of the whole text.
    """

    label: str
    score: float
    negative_score: float
    whole_text: bool = False


def toward_whole_text(labels: Mapping[str, str], scores: Mapping[str, float], negative_score: float) -> Toward:
    """The sentiment of the whole text, for a subject that no model judged by itself."""
    return Toward(labels.get("sentiment", ""), scores.get("sentiment", 0.0), negative_score, whole_text=True)


class ScoredPost(NamedTuple):
    """A post with its labels: `labels[head]` is the class; scores are probabilities in [0, 1].

    `toward` has an entry for each of the `subjects`; it is empty for a post that a release before 0.13.0 indexed.
    `families` are MinHash values of the normalised text, at most 3: near-copies mostly have one in common.
    """

    post: Post
    labels: dict[str, str]
    scores: dict[str, float]
    negative_score: float
    subjects: tuple[str, ...]
    model_name: str
    model_version: str
    toward: Mapping[str, Toward] = MappingProxyType({})
    families: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that could not be processed, with its bytes as they were received."""

    record: Record
    stage: str
    reason: str


class Outcome(Enum):
    """What the store did with one post of a batch."""

    INDEXED = "indexed"
    #: The document existed and came from this very record: the record was redelivered.
    REDELIVERED = "redelivered"
    #: The document existed and came from another record: the post was sent twice.
    DUPLICATE = "duplicate"
    #: The store can never take the post (a mapping conflict): it becomes a dead letter.
    REJECTED = "rejected"
