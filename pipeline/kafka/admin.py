"""The command-line tools' side of Kafka: topics, ingest, lag, dead letters. The only module that imports kafka-python.

It cannot talk to the embedded broker: these tools are for a real Kafka.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError, TopicAuthorizationFailedError
from kafka.record import memory_records

from pipeline.domain.connection_errors import printable
from pipeline.domain.errors import EXIT_CONFIG, EXIT_UNAVAILABLE, EXIT_USAGE, Fatal
from pipeline.kafka.headers import header_number, header_texts
from pipeline.kafka.probe import probe
from pipeline.settings import EMBEDDED, KafkaSettings

MAX_BYTES = 10_000_000
MAX_REPLAYS = 3
_TIMEOUT_MS = 10_000
_ORIGIN = re.compile(r"([A-Za-z0-9._-]{1,249})/([0-9]{1,9})/([0-9]{1,18})")
#: The most that one fetch may bring: a letter's headers say how large its record is, and may say anything.
_MAX_FETCH_BYTES = 2**31 - 1
_LARGEST = "max.message.bytes"
_REMEDIES = {
    "InvalidReplicationFactorError": "set kafka.replication to the number of brokers at most",
    "MessageSizeTooLargeError": "send smaller posts, or raise max.message.bytes of that topic",
    "UnknownTopicOrPartitionError": "run 'opinionwatch setup'",
    "InvalidTopicError": "correct the names of topics in [kafka]: letters, digits, dot, dash and underscore",
}
_RIGHTS = "give that user the rights that deploy/kafka/acls.sh gives, then run 'opinionwatch setup'"


class _AnyNames(bytearray):
    """Decodes whatever it holds: no broker keeps the name of a header from being no UTF-8."""

    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        return _AnyNames(found) if isinstance(at, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        return super().decode(encoding, errors)


class _Batch(memory_records.DefaultRecordBatch):  # type: ignore[misc]
    """One record with an odd header must not hide all others of its topic."""

    _buffer: Any

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer: bytearray = _AnyNames(self._buffer)


memory_records.DefaultRecordBatch = _Batch


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

    @property
    def place(self) -> tuple[str, int, int] | None:
        """Topic, partition and offset of `origin`; None where it names no place."""
        found = _ORIGIN.fullmatch(self.origin)
        return (found[1], int(found[2]), int(found[3])) if found else None


def ensure_topics(kafka: KafkaSettings) -> list[str]:
    """Creates what is missing; returns a line per topic made."""
    wanted: dict[str, tuple[int, dict[str, str]]] = {name: (kafka.partitions, {}) for name in kafka.topics}
    wanted[kafka.dead_topic] = (1, {})
    wanted[kafka.progress_topic] = (1, {"cleanup.policy": "compact"})
    wanted[kafka.alerts_topic] = (1, {})
    # A record counts as durable on two copies where there are three: the broker's own default is one.
    copies = str(max(1, min(2, kafka.replication - 1)))
    limits = {"max.message.bytes": str(MAX_BYTES + 100_000), "min.insync.replicas": copies}
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
    """A line about the brokers; raises `Fatal` naming the topics that are missing or denied to this user."""
    _refuse_embedded(kafka)
    needed = _all_topics(kafka)
    found = probe(kafka, needed)
    denied, missing = ([name for name in needed if name in some] for some in (found.denied, found.missing))
    if denied:
        more = f"; and there is no topic {', '.join(missing)}" if missing else ""
        raise Fatal(f"user {kafka.username!r} may not see topic {', '.join(denied)}, or there is none{more}", _RIGHTS)
    if missing:
        raise Fatal(f"Kafka has no topic {', '.join(missing)}", "run 'opinionwatch setup'")
    return f"Kafka at {kafka.bootstrap_servers}, topics {', '.join(needed)}"


def check_limits(kafka: KafkaSettings) -> str:
    """A line about what the topics take; raises `Fatal` where one has no leader or takes too small records only."""
    if leaderless := probe(kafka, _all_topics(kafka)).leaderless:
        raise Fatal(
            f"topic {', '.join(leaderless)} has partitions without a leader",
            "start the brokers that hold their replicas",
            EXIT_UNAVAILABLE,
        )
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


def _all_topics(kafka: KafkaSettings) -> list[str]:
    return [*kafka.topics, kafka.dead_topic, kafka.progress_topic, kafka.alerts_topic]


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
    """(topic, partition, committed by the classify group, end) of every source partition.

    Where the group has committed nothing that is still in the log, its first offset stands for that.
    """
    with _sources(kafka) as (consumer, found):
        begins, ends = consumer.beginning_offsets(found), consumer.end_offsets(found)
        done = {tp: consumer.committed(tp) for tp in found}
        read = {tp: n if n is not None and begins[tp] <= n <= ends[tp] else begins[tp] for tp, n in done.items()}
        return [(tp.topic, tp.partition, read[tp], ends[tp]) for tp in sorted(found)]


def logs(kafka: KafkaSettings) -> dict[str, str]:
    """The identity of each source topic's log, as in `Progress.log`."""
    with _reached(kafka):
        admin = KafkaAdminClient(**_common(kafka))
        try:
            cluster = admin.describe_cluster().get("cluster_id") or ""
            found = admin.describe_topics(list(kafka.topics))
        finally:
            admin.close()
    return {t["name"]: f"{cluster}/{_topic_id(t.get('topic_id'))}" for t in found if not t.get("error_code")}


def _topic_id(found: Any) -> str:
    return str(uuid.UUID(str(found))) if found and uuid.UUID(str(found)).int else ""


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
    place = letter.place
    if place is None:
        raise Fatal(
            f"dead letter {letter.id} does not say where its record is (header 'origin': {letter.origin!r})",
            f"drop it: opinionwatch dead drop {letter.id}",
            EXIT_USAGE,
        )
    topic, partition, offset = place
    fetch_bytes = min(max(2 * letter.size, MAX_BYTES), _MAX_FETCH_BYTES)
    with _reached(kafka):
        consumer = KafkaConsumer(
            **_common(kafka), enable_auto_commit=False, max_poll_records=1, max_partition_fetch_bytes=fetch_bytes
        )
        try:
            at = TopicPartition(topic, partition)
            consumer.assign([at])
            consumer.seek(at, offset)
            found: list[Any] = next(iter(consumer.poll(timeout_ms=_TIMEOUT_MS).values()), [])
        finally:
            consumer.close()
    value = (found[0].value or b"") if found and found[0].offset == offset else b""
    if hashlib.sha256(value).hexdigest() != letter.sha256:
        raise Fatal(
            f"the {letter.size} bytes of dead letter {letter.id} are no longer at {letter.origin}",
            "retention has deleted them there: send the record again from its source, and drop this letter",
            EXIT_UNAVAILABLE,
        )
    return replace(letter, value=value)


def replayable(kafka: KafkaSettings, letter: Letter) -> bool:
    """Whether it may be sent again: not too often, and to no topic that only the workers write."""
    ours = {kafka.dead_topic, kafka.progress_topic, kafka.alerts_topic}
    return letter.replayed < MAX_REPLAYS and letter.place is not None and letter.place[0] not in ours


def replay(kafka: KafkaSettings, letters: Sequence[Letter]) -> tuple[int, int]:
    """Sends the raw bytes to their topics again, marked `replayed`; (sent, refused because not `replayable`)."""
    again = [letter for letter in letters if replayable(kafka, letter)]
    largest = min(max([MAX_BYTES, *(letter.size for letter in again)]), _MAX_FETCH_BYTES)
    with producer(kafka, largest) as send:
        for letter in again:
            headers = [("replayed", str(letter.replayed + 1).encode()), ("origin", letter.origin.encode())]
            value = with_value(kafka, letter).value
            send(letter.origin.rsplit("/", 2)[0], value, key=letter.origin.encode(), headers=headers)
    return len(again), len(letters) - len(again)


def _letter(record: Any) -> Letter:
    """Anybody may have written it: what its headers do not say, or say wrong, is empty."""
    headers = header_texts(record.headers)
    value = record.value or b""
    return Letter(
        partition=record.partition,
        offset=record.offset,
        origin=headers.get("origin", ""),
        reason=headers.get("reason", ""),
        stage=headers.get("stage", ""),
        first_seen=headers.get("first_seen", ""),
        replayed=header_number(headers.get("replayed", "")),
        value=value,
        dropped=headers.get("dropped", ""),
        size=header_number(headers.get("bytes", "")) if headers.get("sha256") else len(value),
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
