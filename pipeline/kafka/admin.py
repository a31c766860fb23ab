"""Kafka for the command line: creates and checks topics, produces, and reads offsets, through kafka-python.

kafka-python cannot talk to the embedded broker, so these functions need a real Kafka.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypedDict

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError, TopicAuthorizationFailedError

from pipeline.domain.connection_errors import printable
from pipeline.domain.errors import EXIT_CONFIG, EXIT_UNAVAILABLE, Fatal
from pipeline.kafka.limits import MAX_RECORD_BYTES, MAX_VALUE_BYTES
from pipeline.kafka.probe import probe
from pipeline.kafka.topic_check import GRANT, all_topics, refuse_embedded
from pipeline.settings import KafkaSettings

_LARGEST = "max.message.bytes"
_REMEDIES = {
    "InvalidReplicationFactorError": "set kafka.replication to at most the number of brokers",
    "MessageSizeTooLargeError": "send smaller posts, or raise max.message.bytes of that topic",
    "UnknownTopicOrPartitionError": "run 'opinionwatch setup'",
    "InvalidTopicError": "correct the topic names in [kafka]: use letters, digits, dots, dashes and underscores only",
}


def ensure_topics(kafka: KafkaSettings) -> list[str]:
    """Creates the missing topics; returns one line per topic created."""
    wanted: dict[str, tuple[int, dict[str, str]]] = {name: (kafka.partitions, {}) for name in kafka.topics}
    wanted[kafka.dead_topic] = (1, {})
    wanted[kafka.progress_topic] = (1, {"cleanup.policy": "compact"})
    wanted[kafka.alerts_topic] = (1, {})
    # With three replicas, a record counts as durable once two have it; the brokers' own default is one.
    in_sync = str(max(1, min(2, kafka.replication - 1)))
    limits = {_LARGEST: str(MAX_RECORD_BYTES), "min.insync.replicas": in_sync}
    with connected(kafka):
        admin = KafkaAdminClient(**client_options(kafka))
        try:
            missing = [name for name in wanted if name not in set(admin.list_topics())]
            new = [
                NewTopic(
                    name=n, num_partitions=wanted[n][0], replication_factor=kafka.replication,
                    topic_configs={**wanted[n][1], **limits},
                )
                for n in missing
            ]  # fmt: skip
            if new:
                with suppress(TopicAlreadyExistsError):  # another setup runs at the same time
                    admin.create_topics(new, wait_for_metadata=True)
        finally:
            admin.close()
    return [f"topic {name} ({wanted[name][0]} partitions)" for name in missing]


def check_limits(kafka: KafkaSettings) -> str:
    """Returns a line about the topics' limits; raises `Fatal` if one has no leader or accepts only small records."""
    if leaderless := probe(kafka, all_topics(kafka)).leaderless:
        raise Fatal(
            f"topic {', '.join(leaderless)} has partitions without a leader",
            "start the brokers that have their replicas",
            EXIT_UNAVAILABLE,
        )
    least = {kafka.dead_topic: MAX_RECORD_BYTES, kafka.alerts_topic: 1_000_000, kafka.progress_topic: 100_000}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name, [_LARGEST]) for name in least]
    with connected(kafka):
        admin = KafkaAdminClient(**client_options(kafka))
        try:
            configs = admin.describe_configs(resources).get("topic", {})
        except TopicAuthorizationFailedError:
            return f"user {kafka.username!r} may not read the limits of topics"
        finally:
            admin.close()
    limits = {name: int(entry[_LARGEST]["value"]) for name, entry in configs.items() if _LARGEST in entry}
    if small := sorted(name for name, limit in limits.items() if limit < least[name]):
        name = small[0]
        raise Fatal(
            "; ".join(f"topic {n} accepts records of at most {limits[n]} bytes and needs {least[n]}" for n in small),
            f"kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config {_LARGEST}={least[name]}",
        )
    return f"{', '.join(limits)} accept the largest records"


@contextmanager
def producer(kafka: KafkaSettings, largest: int = MAX_VALUE_BYTES) -> Iterator[Callable[..., None]]:
    """Yields `send(topic, value, key=, timestamp_ms=, headers=)`; leaving waits until the brokers have every record.

    `largest` is the size in bytes of the largest value.
    """
    with connected(kafka):
        client = KafkaProducer(
            **client_options(kafka),
            acks="all",
            linger_ms=20,
            compression_type="gzip",
            max_request_size=largest + MAX_RECORD_BYTES - MAX_VALUE_BYTES,
        )
        futures: list[Any] = []

        def send(topic: str, value: bytes, **more: Any) -> None:
            futures.append(client.send(topic, value, **more))
            if len(futures) >= 5000:
                _wait_for(futures)

        try:
            yield send
            client.flush()
            _wait_for(futures)
        finally:
            client.close()


def _wait_for(futures: list[Any]) -> None:
    for future in futures:
        future.get(timeout=60)
    futures.clear()


def offsets(kafka: KafkaSettings) -> list[tuple[str, int, int, int]]:
    """Returns topic, partition, the classify group's committed offset and the end of every source partition.

    If the group has committed nothing that is still in the log, the log's first offset takes its place.
    """
    with connected(kafka):
        # The client joins no group; it only asks for the group's offsets.
        consumer = KafkaConsumer(**client_options(kafka), group_id=f"{kafka.group}-classify", enable_auto_commit=False)
        try:
            parts = [TopicPartition(t, p) for t in kafka.topics for p in consumer.partitions_for_topic(t) or ()]
            begins, ends = consumer.beginning_offsets(parts), consumer.end_offsets(parts)
            committed = {tp: consumer.committed(tp) for tp in parts}
        finally:
            consumer.close()
    read = {tp: n if n is not None and begins[tp] <= n <= ends[tp] else begins[tp] for tp, n in committed.items()}
    return [(tp.topic, tp.partition, read[tp], ends[tp]) for tp in sorted(parts)]


def logs(kafka: KafkaSettings) -> dict[str, str]:
    """Returns the identity of each source topic's log, as in `Progress.log`."""
    with connected(kafka):
        admin = KafkaAdminClient(**client_options(kafka))
        try:
            cluster = admin.describe_cluster().get("cluster_id") or ""
            topics = admin.describe_topics(list(kafka.topics))
        finally:
            admin.close()
    return {t["name"]: f"{cluster}/{_topic_id(t.get('topic_id'))}" for t in topics if not t.get("error_code")}


def _topic_id(given: Any) -> str:
    return str(uuid.UUID(str(given))) if given and uuid.UUID(str(given)).int else ""


class ClientOptions(TypedDict, total=False):
    """Arguments of every client of kafka-python."""

    bootstrap_servers: list[str]
    security_protocol: str
    client_id: str
    request_timeout_ms: int
    ssl_cafile: str
    sasl_mechanism: str
    sasl_plain_username: str
    sasl_plain_password: str


def client_options(kafka: KafkaSettings) -> ClientOptions:
    """Returns the arguments for these settings."""
    options: ClientOptions = {
        "bootstrap_servers": kafka.bootstrap_servers.split(","),
        "security_protocol": kafka.security_protocol,
        "client_id": "opinionwatch-cli",
        "request_timeout_ms": 30_000,
    }
    if kafka.ca_file:
        options["ssl_cafile"] = kafka.ca_file
    if kafka.security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = kafka.sasl_mechanism
        options["sasl_plain_username"] = kafka.username
        options["sasl_plain_password"] = kafka.password.get_secret_value()
    return options


@contextmanager
def connected(kafka: KafkaSettings) -> Iterator[None]:
    """Raises `Fatal` with the cause if Kafka cannot be used, before a client would try for half a minute."""
    refuse_embedded(kafka)
    probe(kafka)
    try:
        yield
    except KafkaError as error:
        kind = type(error).__name__
        denied = "Authorization" in kind
        detail = printable(str(error)).removeprefix(f"{kind}: ")
        raise Fatal(
            f"Kafka at {kafka.bootstrap_servers} refused or did not answer: {kind}{': ' + detail if detail else ''}",
            _REMEDIES.get(kind, GRANT if denied else "check the brokers' log and load, and run the command again"),
            EXIT_CONFIG if denied or kind in _REMEDIES else EXIT_UNAVAILABLE,
        ) from None
