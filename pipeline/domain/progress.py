"""How far the index is, per source partition and log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any

from pipeline.domain.known_fields import known_fields
from pipeline.domain.post import EPOCH

_TIMES = ("reported_at", "advanced_at")


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
