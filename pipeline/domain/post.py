"""The values that travel through the pipeline. Immutable; times are aware UTC datetimes.

Those of which there is one per record are named tuples: they are made three times as fast as frozen data classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

#: The event time of what has none yet.
EPOCH = datetime.fromtimestamp(0, UTC)
#: Between these a time is taken for that of a post or a record.
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
EARLIEST_S, LATEST_S = int(EARLIEST.timestamp()), int(LATEST.timestamp())


class Origin(NamedTuple):
    """Where a record stood in Kafka."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


class Record(NamedTuple):
    """A Kafka record as it came; `timestamp_ms` is the record's own, since the epoch.

    `replayed` counts how often it was sent again from the dead letters. `by_reference` is the size in bytes and the
    SHA-256 (hex) of a value that is too large to be held in memory; `value` is empty then.
    """

    origin: Origin
    timestamp_ms: int
    value: bytes
    replayed: int = 0
    by_reference: tuple[int, str] | None = None

    @property
    def time(self) -> datetime | None:
        """The time of `timestamp_ms`, also where that is in microseconds; None where it stands for no time.

        Brokers take any number there, and old clients write -1.
        """
        for unit in (1_000, 1_000_000):
            if EARLIEST_S * unit <= (self.timestamp_ms or 0) < LATEST_S * unit:
                return datetime.fromtimestamp(self.timestamp_ms / unit, UTC)
        return None


class Post(NamedTuple):
    """A decoded post; `event_time` is a function of the record alone (see `codec.decode`).

    `ignored` names the fields of the record whose value could not be used.
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
        return _joined(self.title, self.text)


def text_of(document: Mapping[str, Any]) -> str:
    """`Post.full_text` of an indexed post."""
    return _joined(str(document["title"]), str(document["text"]))


def scores_of(document: Mapping[str, Any]) -> dict[str, float]:
    """Per head, how sure the model was of its label of an indexed post, in [0, 1].

    Of a post that an older release indexed, `topic` and `sentiment` only (docs/adr/0013).
    """
    if (scores := document.get("scores")) is not None:
        return dict(scores)
    return {h: document[f"{h}_score"] for h in ("topic", "sentiment") if h in document["labels"]}


def rounded(scores: Mapping[str, float]) -> dict[str, float]:
    """As the index keeps them."""
    return {head: round(score, 4) for head, score in scores.items()}


def _joined(title: str, text: str) -> str:
    return f"{title}\n{text}" if title and text else title or text


def document_id(source: str, native: str) -> str:
    """SHA-256 (hex) of the source and the native id or URL: redelivery and double posting give one document."""
    return hashlib.sha256(f"{source}\x00{native}".encode()).hexdigest()


class ScoredPost(NamedTuple):
    """A post with its labels; `labels[head]` is the class, scores are probabilities in [0, 1]."""

    post: Post
    labels: dict[str, str]
    scores: dict[str, float]
    negative_score: float
    subjects: tuple[str, ...]
    model_name: str
    model_version: str

    def document(self, ingested_at: str, *, repost: bool) -> dict[str, Any]:
        """The index document of the contract; `ingested_at` is ISO 8601, `repost` is known to the store alone."""
        p = self.post
        return {
            "@timestamp": p.event_time.isoformat(),
            "ingested_at": ingested_at,
            "id": p.native_id,
            "source": p.source,
            "kind": p.kind,
            "url": p.url,
            "title": p.title,
            "text": p.text,
            "author": p.author,
            "lang": p.lang,
            "content_hash": p.content_hash,
            "repost": repost,
            "time_suspect": p.time_suspect,
            "topic": self.labels.get("topic", ""),
            "topic_score": round(self.scores.get("topic", 0.0), 4),
            "sentiment": self.labels.get("sentiment", ""),
            "sentiment_score": round(self.scores.get("sentiment", 0.0), 4),
            "negative_score": round(self.negative_score, 4),
            "labels": dict(self.labels),
            "scores": rounded(self.scores),
            "subjects": list(self.subjects),
            "engagement": {"reposts": p.reposts, "likes": p.likes, "comments": p.comments},
            "model": {"name": self.model_name, "version": self.model_version},
            "origin": {"topic": p.origin.topic, "partition": p.origin.partition, "offset": p.origin.offset},
            "corrected": False,
            "extra": p.extra,
        }


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What could not be processed, with the bytes as they came."""

    record: Record
    stage: str
    reason: str


def known_fields(cls: type, value: Mapping[str, Any]) -> dict[str, Any]:
    """What of `value` is a field of the dataclass `cls`: a newer release may have written more."""
    return {field.name: value[field.name] for field in fields(cls) if field.name in value}


def same_log(one: str, other: str) -> bool:
    """Whether two log identities may name the same log: nothing that both say differs.

    >>> same_log("cluster/1f", "cluster/1f"), same_log("cluster/1f", "cluster/2e"), same_log("", "cluster/1f")
    (True, False, True)
    >>> same_log("cluster/", "cluster/1f"), same_log("cluster/", "elsewhere/"), same_log("unknown-1", "cluster/1f")
    (True, False, True)
    """
    if not (is_named(one) and is_named(other)):
        return True
    (cluster, topic), (other_cluster, other_topic) = one.split("/", 1), other.split("/", 1)
    if topic and other_topic:
        return topic == other_topic
    return not (cluster and other_cluster) or cluster == other_cluster


def is_named(log: str) -> bool:
    """Whether the brokers named the log; without that only its offsets can tell it from another."""
    return "/" in log


@dataclass(frozen=True, slots=True)
class Progress:
    """Of one source partition: all records below `next_offset` are indexed or dead-lettered.

    `event_time` is the furthest event time among them, `end_offset` the partition's end when last seen. The
    counts are of records, over all workers and restarts: a redelivery changes none of them. `in_flight` is
    what the worker had taken beyond `next_offset`; `partitions` how many the topic has, 0 where not known.

    `log` is the identity of the log that the offsets belong to, `CLUSTER/TOPIC_ID`: a topic that was deleted and
    created again is another log, and so is one of the same name in another cluster. Brokers without topic ids leave
    that part empty; "" is unknown. `skipped` records were deleted by retention before anybody read them.
    `open_transaction`: what is next belongs to a transaction that is not committed. The worker said all this at
    `reported_at`; `advanced_at` is when it last moved, or had nothing left to read.
    """

    topic: str
    partition: int
    next_offset: int
    end_offset: int
    event_time: datetime
    indexed: int = 0
    duplicate: int = 0
    dead: int = 0
    in_flight: int = 0
    partitions: int = 0
    log: str = ""
    skipped: int = 0
    open_transaction: bool = False
    reported_at: datetime = EPOCH
    advanced_at: datetime = EPOCH

    @property
    def lag(self) -> int:
        return max(0, self.end_offset - self.next_offset)

    @property
    def log_key(self) -> str:
        """Names the log; no topic can be called so, where the identity is known."""
        return f"{self.topic}@{self.log}" if self.log else self.topic

    def bounded(self, now: datetime) -> Progress:
        """Without an event time that lies in the future: a clock that was ahead moves nobody's verdict."""
        return self if self.event_time <= now else replace(self, event_time=now)

    def to_json(self) -> dict[str, Any]:
        """As it stands in `opinion.progress` and in the store."""
        return {k: v.isoformat() if isinstance(v, datetime) else v for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Progress:
        """Passes over fields that it does not know; raises `ValueError` where one is missing or is not of its type."""
        known = known_fields(cls, value)
        try:
            times = {k: datetime.fromisoformat(known[k]) for k in ("event_time", *_TIMES) if k in known}
            found = cls(**{**known, **times})
        except TypeError as error:
            raise ValueError(f"not a progress record: {error}") from None
        for field in fields(cls):
            if type(getattr(found, field.name)).__name__ != field.type:
                raise ValueError(f"not a progress record: {field.name} must be of type {field.type}")
        numbers = [getattr(found, field.name) for field in fields(cls) if field.type == "int"]
        if not all(0 <= n < 2**63 for n in numbers) or any(getattr(found, k).tzinfo is None for k in times):
            raise ValueError("not a progress record: a number or a time is out of range")
        return found


_TIMES = ("reported_at", "advanced_at")


@dataclass(frozen=True, slots=True)
class Label:
    """What a person said of a text: class `label` of `head`.

    `post` is the id of the indexed document, or the content hash of a text that is not indexed. `suggested` is
    what the model `model` had said.
    """

    post: str
    head: str
    label: str
    annotator: str
    at: datetime
    text: str
    source: str = ""
    lang: str = ""
    suggested: str = ""
    model: str = ""

    @property
    def id(self) -> str:
        """One label per text, head and annotator: the newest counts."""
        return hashlib.sha256("\x00".join((self.post, self.head, self.annotator)).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "at": self.at.isoformat()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Label:
        """Passes over fields that it does not know; raises `ValueError` where one is missing."""
        try:
            return cls(**{**known_fields(cls, value), "at": datetime.fromisoformat(value["at"])})
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a label: {error}") from None
