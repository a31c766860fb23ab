"""How far the classify workers have read each source partition. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime

from models.json_reader import JsonReader
from models.json_types import JsonObject
from pipeline.domain.post import EPOCH

_MOST = 2**63


def same_log(one: str, other: str) -> bool:
    """Whether two log identities may name the same log: they differ in nothing that both specify.

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
    """Whether the brokers named the log; otherwise only its offsets distinguish it from another."""
    return "/" in log


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress in one source partition: every record below `next_offset` is indexed or dead-lettered.

    `event_time` is the latest event time among these records, and `end_offset` is the last known end of the partition.
    The counts are numbers of records over all workers and restarts; a redelivery does not change them. `in_flight` is
    the number of records that the worker had taken from `next_offset` on. `partitions` is the number of partitions of
    the topic, 0 if unknown.

    `log` is the identity of the log that the offsets belong to, `CLUSTER/TOPIC_ID`. A topic that was deleted and
    created again is another log, and so is a topic of the same name in another cluster. Brokers without topic ids leave
    that part empty, and "" is an unknown log. Retention deleted `skipped` records before anybody read them. With
    `open_transaction`, the next record belongs to a transaction that is not committed. The worker reported all this at
    `reported_at`; at `advanced_at` it last moved forward, or had nothing left to read.
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
        """How many records are left to read."""
        return max(0, self.end_offset - self.next_offset)

    @property
    def log_key(self) -> str:
        """A name of the log that is no topic's name if the identity of the log is known."""
        return f"{self.topic}@{self.log}" if self.log else self.topic

    def bounded(self, now: datetime) -> Progress:
        """The same progress with no event time after `now`: a clock that was ahead must not move the watermark."""
        return self if self.event_time <= now else replace(self, event_time=now)

    def to_json(self) -> JsonObject:
        """The JSON object in `opinion.progress` and in the store."""
        return {k: v.isoformat() if isinstance(v, datetime) else v for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, value: JsonObject) -> Progress:
        """Ignores fields that it does not know; raises `ValueError` if one is missing or has another type."""
        fields = JsonReader(value)
        try:
            found = cls(
                topic=fields.text("topic"),
                partition=fields.whole("partition"),
                next_offset=fields.whole("next_offset"),
                end_offset=fields.whole("end_offset"),
                event_time=fields.time("event_time"),
                indexed=fields.whole("indexed", 0),
                duplicate=fields.whole("duplicate", 0),
                dead=fields.whole("dead", 0),
                in_flight=fields.whole("in_flight", 0),
                partitions=fields.whole("partitions", 0),
                log=fields.text("log", ""),
                skipped=fields.whole("skipped", 0),
                open_transaction=fields.flag("open_transaction", default=False),
                reported_at=fields.time("reported_at", EPOCH),
                advanced_at=fields.time("advanced_at", EPOCH),
            )
        except (KeyError, ValueError) as error:
            raise ValueError(f"not a progress record: {error}") from None
        if not found._is_in_range:
            raise ValueError("not a progress record: a number or a time is out of range")
        return found

    @property
    def _is_in_range(self) -> bool:
        offsets = (self.partition, self.next_offset, self.end_offset, self.partitions)
        counts = (self.indexed, self.duplicate, self.dead, self.in_flight, self.skipped)
        times = (self.event_time, self.reported_at, self.advanced_at)
        return all(0 <= n < _MOST for n in (*offsets, *counts)) and all(at.tzinfo for at in times)
