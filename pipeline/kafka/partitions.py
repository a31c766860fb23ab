"""What an app's consumer knows of partitions and topics: ends, durable offsets, log identities."""

from __future__ import annotations

from collections.abc import Iterable

from aiokafka.structs import TopicPartition

from pipeline.domain.errors import Transient
from pipeline.kafka.log_identity import KafkaError
from pipeline.kafka.strict import StrictApp


def assigned(app: StrictApp, topic: str) -> list[int]:
    """Returns the partitions of `topic` that are assigned to this process now."""
    return [tp.partition for tp in app.consumer.assignment() if tp.topic == topic] if app.started else []


def partition_count(app: StrictApp, topic: str) -> int:
    """Returns the number of partitions of a topic that the app reads; 0 while its consumer does not know it."""
    return int(app.consumer.topic_partitions(topic) or 0)


def end_offset(app: StrictApp, topic: str, partition: int) -> int | None:
    """Returns the partition's end at the last fetch; None before the first fetch, or if it is no longer assigned."""
    try:
        found = app.consumer.highwater(TopicPartition(topic, partition))
    except AssertionError:  # aiokafka raises it for a partition that a rebalance took, in a thread of its own
        return None
    return None if found is None else int(found)


def durable_offset(app: StrictApp, topic: str, partition: int) -> int | None:
    """Returns the offset below which every record is durable, or will never be delivered; None if it is unknown."""
    found = app.consumer.durable_offset(TopicPartition(topic, partition))
    return None if found is None else int(found)


def has_open_transaction(app: StrictApp, topic: str, partition: int) -> bool:
    """Whether the next record of the partition belongs to a transaction that is not committed yet."""
    tp = TopicPartition(topic, partition)
    try:
        stable, end = app.consumer.stable_offset(tp), app.consumer.highwater(tp)
    except AssertionError:  # see end_offset
        return False
    position = app.consumer.durable_offset(tp)
    return None not in {stable, end, position} and stable <= position < end


async def log_identities(app: StrictApp, topics: Iterable[str]) -> dict[str, str]:
    """Returns the identity of each topic's log, as far as the brokers name it; raises `Transient`."""
    try:
        return dict(await app.consumer.log_identities(list(topics)))
    except KafkaError as error:
        raise Transient(f"Kafka did not name the logs of its topics: {type(error).__name__}") from error


async def written_since(app: StrictApp, topic: str, since_s: float) -> int:
    """Returns how many records a topic of one partition has from `since_s` seconds after the epoch on.

    Raises what the client raises.
    """
    tp = TopicPartition(topic, 0)
    first, ends = await app.consumer.offset_at(tp, round(since_s * 1000)), await app.consumer.highwaters(tp)
    return 0 if first is None else max(0, int(ends[tp]) - first)
