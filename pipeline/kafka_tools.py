"""The command-line tools' side of Kafka: topics, ingest, lag, dead letters. The only module that imports kafka-python.

It cannot talk to the embedded broker: these tools are for a real Kafka.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError, TopicAuthorizationFailedError

from pipeline.errors import EXIT_CONFIG, EXIT_UNAVAILABLE, EXIT_USAGE, Fatal
from pipeline.kafka_probe import probe
from pipeline.network import printable
from pipeline.settings import EMBEDDED, KafkaSettings

MAX_BYTES = 10_000_000
MAX_REPLAYS = 3
_TIMEOUT_MS = 10_000
_LARGEST = "max.message.bytes"
_REMEDIES = {
    "InvalidReplicationFactorError": "set kafka.replication to the number of brokers at most",
    "MessageSizeTooLargeError": "send smaller posts, or raise max.message.bytes of that topic",
    "UnknownTopicOrPartitionError": "run 'opinionwatch setup'",
    "InvalidTopicError": "correct the names of topics in [kafka]: letters, digits, dot, dash and underscore",
}
_RIGHTS = "give that user the rights that deploy/kafka/acls.sh gives, then run 'opinionwatch setup'"


@dataclass(frozen=True, slots=True)
class Letter:
    """A record of the dead-letter topic; `origin` is `topic/partition/offset` of the record that failed.

    With `dropped` (by whom) it is no letter but the mark that the letters of its origin are done with.
    """

    partition: int
    offset: int
    origin: str
    reason: str
    stage: str
    first_seen: str
    replayed: int
    value: bytes
    dropped: str = ""
    #: Of a letter by reference, whose bytes are still where `origin` says: how many, and their SHA-256 (hex).
    size: int = 0
    sha256: str = ""

    @property
    def id(self) -> str:
        return f"{self.partition}-{self.offset}"


def ensure_topics(kafka: KafkaSettings) -> list[str]:
    """Creates what is missing; returns a line per topic made."""
    wanted: dict[str, tuple[int, dict[str, str]]] = {name: (kafka.partitions, {}) for name in kafka.topics}
    wanted[kafka.dead_topic] = (1, {})
    wanted[kafka.progress_topic] = (1, {"cleanup.policy": "compact"})
    wanted[kafka.alerts_topic] = (1, {})
    limits = {"max.message.bytes": str(MAX_BYTES + 100_000)}
    with _reached(kafka):
        admin = KafkaAdminClient(**_common(kafka))
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


def check_topics(kafka: KafkaSettings) -> str:
    """A line about the brokers; raises `Fatal` naming the topics that are missing, denied or without a leader."""
    _refuse_embedded(kafka)
    needed = [*kafka.topics, kafka.dead_topic, kafka.progress_topic, kafka.alerts_topic]
    found = probe(kafka, needed)
    problems = [
        (f"user {kafka.username!r} may not see topic {', '.join(found.denied)}, or there is none", _RIGHTS)
        if found.denied
        else None,
        (f"Kafka has no topic {', '.join(found.missing)}", "run 'opinionwatch setup'") if found.missing else None,
        (
            f"topic {', '.join(found.leaderless)} has partitions without a leader",
            "start the brokers that hold its replicas",
        )
        if found.leaderless
        else None,
    ]
    if wrong := [p for p in problems if p]:
        raise Fatal("; ".join(words for words, _ in wrong), "; ".join(remedy for _, remedy in wrong))
    return f"Kafka at {kafka.bootstrap_servers}, topics {', '.join(needed)}"


def check_limits(kafka: KafkaSettings) -> str:
    """A line about the largest records; raises `Fatal` where a topic that workers write takes only smaller ones."""
    least = {kafka.dead_topic: MAX_BYTES + 100_000, kafka.alerts_topic: 1_000_000, kafka.progress_topic: 100_000}
    asked = [ConfigResource(ConfigResourceType.TOPIC, name, [_LARGEST]) for name in least]
    with _reached(kafka):
        admin = KafkaAdminClient(**_common(kafka))
        try:
            found = admin.describe_configs(asked).get("topic", {})
        except TopicAuthorizationFailedError:
            return f"user {kafka.username!r} may not read the limits of topics"
        finally:
            admin.close()
    limits = {name: int(entry[_LARGEST]["value"]) for name, entry in found.items() if _LARGEST in entry}
    if small := sorted(name for name, limit in limits.items() if limit < least[name]):
        name = small[0]
        raise Fatal(
            "; ".join(f"topic {n} takes records of {limits[n]} bytes only, {least[n]} are needed" for n in small),
            f"kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config {_LARGEST}={least[name]}",
        )
    return f"{', '.join(limits)} take the largest records"


@contextmanager
def producer(kafka: KafkaSettings, largest: int = MAX_BYTES) -> Iterator[Callable[..., None]]:
    """Gives `send(topic, value, key=, timestamp_ms=, headers=)`; leaving waits until the brokers have everything.

    `largest` is the size in bytes of the largest value.
    """
    with _reached(kafka):
        client = KafkaProducer(
            **_common(kafka), acks="all", linger_ms=20, compression_type="gzip", max_request_size=largest + 100_000
        )
        futures: list[Any] = []

        def send(topic: str, value: bytes, **more: Any) -> None:
            futures.append(client.send(topic, value, **more))
            if len(futures) >= 5000:
                _collect(futures)

        try:
            yield send
            client.flush()
            _collect(futures)
        finally:
            client.close()


def _collect(futures: list[Any]) -> None:
    for future in futures:
        future.get(timeout=60)
    futures.clear()


def offsets(kafka: KafkaSettings) -> list[tuple[str, int, int, int]]:
    """(topic, partition, committed by the classify group, end) of every source partition."""
    with _sources(kafka) as (consumer, found):
        ends = consumer.end_offsets(found)
        return [(tp.topic, tp.partition, consumer.committed(tp) or 0, ends[tp]) for tp in sorted(found)]


@contextmanager
def _sources(kafka: KafkaSettings) -> Iterator[tuple[Any, list[Any]]]:
    """A client that may ask about the classify group's offsets (it never joins), and all source partitions."""
    with _reached(kafka):
        consumer = KafkaConsumer(**_common(kafka), group_id=f"{kafka.group}-classify", enable_auto_commit=False)
        try:
            yield (
                consumer,
                [
                    TopicPartition(topic, p)
                    for topic in kafka.topics
                    for p in consumer.partitions_for_topic(topic) or ()
                ],
            )
        finally:
            consumer.close()


def refuse_deleted(kafka: KafkaSettings) -> None:
    """Raises `Fatal` where retention has deleted records that the group has not read: no silent jump over them."""
    with _sources(kafka) as (consumer, found):
        begins = consumer.beginning_offsets(found)
        gone = {tp: begins[tp] - done for tp in found if (done := consumer.committed(tp)) is not None}
    lost = {f"{tp.topic}/{tp.partition}": n for tp, n in gone.items() if n > 0}
    if lost and kafka.on_deleted == "stop":
        raise Fatal(
            f"Kafka has deleted records that were never read: {', '.join(f'{n} of {tp}' for tp, n in lost.items())}",
            "send them again from their source, or set kafka.on_deleted = 'skip' to go on without them",
        )


def drop(kafka: KafkaSettings, letters: Sequence[Letter], by: str) -> None:
    """Marks letters as dropped: they are no longer listed, their bytes stay in the topic until its retention ends."""
    with producer(kafka) as send:
        for origin in dict.fromkeys(letter.origin for letter in letters):
            headers = [("origin", origin.encode()), ("dropped", by.encode())]
            send(kafka.dead_topic, b"", key=origin.encode(), headers=headers)


def dead_letters(kafka: KafkaSettings) -> Iterator[Letter]:
    """All letters, oldest first. A redelivered poison stands there twice, under one origin."""
    with _reached(kafka):
        consumer = KafkaConsumer(**_common(kafka), enable_auto_commit=False, auto_offset_reset="earliest")
        try:
            parts = [TopicPartition(kafka.dead_topic, p) for p in consumer.partitions_for_topic(kafka.dead_topic) or ()]
            if not parts:
                raise Fatal(f"Kafka has no topic {kafka.dead_topic}", "run 'opinionwatch setup'")
            consumer.assign(parts)
            consumer.seek_to_beginning(*parts)
            ends = consumer.end_offsets(parts)
            while any(consumer.position(tp) < ends[tp] for tp in parts):
                for records in consumer.poll(timeout_ms=1000).values():
                    yield from (_letter(r) for r in records if r.offset < ends[TopicPartition(r.topic, r.partition)])
        finally:
            consumer.close()


def with_value(kafka: KafkaSettings, letter: Letter) -> Letter:
    """The letter with its bytes, which are read from its origin where it is one by reference; raises `Fatal`."""
    if not letter.sha256:
        return letter
    topic, partition, offset = letter.origin.rsplit("/", 2)
    with _reached(kafka):
        consumer = KafkaConsumer(
            **_common(kafka), enable_auto_commit=False, max_poll_records=1, max_partition_fetch_bytes=2 * letter.size
        )
        try:
            place = TopicPartition(topic, int(partition))
            consumer.assign([place])
            consumer.seek(place, int(offset))
            found: list[Any] = next(iter(consumer.poll(timeout_ms=_TIMEOUT_MS).values()), [])
        finally:
            consumer.close()
    value = found[0].value if found and found[0].offset == int(offset) else b""
    if hashlib.sha256(value).hexdigest() != letter.sha256:
        raise Fatal(
            f"the {letter.size} bytes of dead letter {letter.id} are no longer at {letter.origin}",
            "retention has deleted them there: send the record again from its source, and drop this letter",
            EXIT_UNAVAILABLE,
        )
    return replace(letter, value=value)


def replay(kafka: KafkaSettings, letters: Sequence[Letter]) -> tuple[int, int]:
    """Sends the raw bytes to their topics again, marked `replayed`; (sent, refused as replayed too often)."""
    again = [letter for letter in letters if letter.replayed < MAX_REPLAYS]
    with producer(kafka, max([MAX_BYTES, *(letter.size for letter in again)])) as send:
        for letter in again:
            headers = [("replayed", str(letter.replayed + 1).encode()), ("origin", letter.origin.encode())]
            value = with_value(kafka, letter).value
            send(letter.origin.rsplit("/", 2)[0], value, key=letter.origin.encode(), headers=headers)
    return len(again), len(letters) - len(again)


def _letter(record: Any) -> Letter:
    headers = {name: value.decode("utf-8", "replace") for name, value in record.headers or ()}
    return Letter(
        partition=record.partition,
        offset=record.offset,
        origin=headers.get("origin", ""),
        reason=headers.get("reason", ""),
        stage=headers.get("stage", ""),
        first_seen=headers.get("first_seen", ""),
        replayed=int(headers.get("replayed", "0")),
        value=record.value or b"",
        dropped=headers.get("dropped", ""),
        size=int(headers.get("bytes", len(record.value or b""))),
        sha256=headers.get("sha256", ""),
    )


def _refuse_embedded(kafka: KafkaSettings) -> None:
    if kafka.bootstrap_servers == EMBEDDED:
        raise Fatal(
            "this command needs a real Kafka; kafka.bootstrap_servers is 'embedded'",
            "set kafka.bootstrap_servers in opinionwatch.toml, or OPINIONWATCH_KAFKA__BOOTSTRAP_SERVERS=host:port, or "
            "use 'opinionwatch demo'",
            EXIT_USAGE,
        )


def _common(kafka: KafkaSettings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap_servers.split(","),
        "security_protocol": kafka.security_protocol,
        "client_id": "opinionwatch-cli",
        "request_timeout_ms": 30_000,
    }
    if kafka.ca_file:
        options["ssl_cafile"] = kafka.ca_file
    if kafka.security_protocol.startswith("SASL"):
        options.update(
            sasl_mechanism=kafka.sasl_mechanism,
            sasl_plain_username=kafka.username,
            sasl_plain_password=kafka.password.get_secret_value(),
        )
    return options


@contextmanager
def _reached(kafka: KafkaSettings) -> Iterator[None]:
    """Raises `Fatal` with the cause where Kafka cannot be used, before the client tries for half a minute."""
    _refuse_embedded(kafka)
    probe(kafka)
    try:
        yield
    except KafkaError as error:
        kind = type(error).__name__
        denied = "Authorization" in kind
        said = printable(str(error)).removeprefix(f"{kind}: ")
        raise Fatal(
            f"Kafka at {kafka.bootstrap_servers} refused or did not answer: {kind}{': ' + said if said else ''}",
            _REMEDIES.get(kind, _RIGHTS if denied else "look at the broker's log and load, and run it again"),
            EXIT_CONFIG if denied or kind in _REMEDIES else EXIT_UNAVAILABLE,
        ) from None
