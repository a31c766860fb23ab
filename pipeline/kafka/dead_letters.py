"""The dead-letter topic for the command line: lists letters, sends them again or drops them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.record import memory_records

from pipeline.domain.errors import EXIT_UNAVAILABLE, EXIT_USAGE, Fatal
from pipeline.kafka.admin import client_options, connected, producer
from pipeline.kafka.headers import header_number, header_texts
from pipeline.kafka.limits import MAX_VALUE_BYTES
from pipeline.settings import KafkaSettings

MAX_REPLAYS = 3
_TIMEOUT_MS = 10_000
_ORIGIN = re.compile(r"([A-Za-z0-9._-]{1,249})/([0-9]{1,9})/([0-9]{1,18})")
#: The limit of one fetch; the size that a letter's headers give for its record cannot be trusted.
_MAX_FETCH_BYTES = 2**31 - 1


class _LenientNames(bytearray):
    """Replaces invalid UTF-8 instead of raising: brokers accept any bytes as the name of a header."""

    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        return _LenientNames(found) if isinstance(at, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        return super().decode(encoding, errors)


class _Batch(memory_records.DefaultRecordBatch):  # type: ignore[misc]
    """Reads a batch leniently, so that one record with an invalid header name does not hide the others."""

    _buffer: Any

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer: bytearray = _LenientNames(self._buffer)


memory_records.DefaultRecordBatch = _Batch


@dataclass(frozen=True, slots=True)
class Letter:
    """A record of the dead-letter topic; `origin` is `topic/partition/offset` of the record that failed.

    If `dropped` names a user, the record is not a letter: it marks the letters of its origin as dropped by that user.
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
    #: The number of bytes of the record; for a letter by reference, they are still at `origin` and `sha256` (hex) is
    #: their digest.
    size: int = 0
    sha256: str = ""

    @property
    def id(self) -> str:
        return f"{self.partition}-{self.offset}"

    @property
    def position(self) -> tuple[str, int, int] | None:
        """Topic, partition and offset of `origin`; None if it is malformed."""
        found = _ORIGIN.fullmatch(self.origin)
        return (found[1], int(found[2]), int(found[3])) if found else None


def dead_letters(kafka: KafkaSettings) -> Iterator[Letter]:
    """Yields all letters, oldest first. A poison that was delivered twice has two letters with the same origin."""
    with connected(kafka):
        consumer = KafkaConsumer(**client_options(kafka), enable_auto_commit=False, auto_offset_reset="earliest")
        try:
            parts = [TopicPartition(kafka.dead_topic, p) for p in consumer.partitions_for_topic(kafka.dead_topic) or ()]
            if not parts:
                raise Fatal(f"Kafka has no topic {kafka.dead_topic}", "run 'opinionwatch setup'")
            consumer.assign(parts)
            consumer.seek_to_beginning(*parts)
            ends = consumer.end_offsets(parts)
            while any(consumer.position(tp) < ends[tp] for tp in parts):
                for records in consumer.poll(timeout_ms=1000).values():
                    yield from (to_letter(r) for r in records if r.offset < ends[TopicPartition(r.topic, r.partition)])
        finally:
            consumer.close()


def drop(kafka: KafkaSettings, letters: Sequence[Letter], by: str) -> None:
    """Marks letters as dropped: they are no longer listed, and their bytes stay until the topic's retention ends."""
    with producer(kafka) as send:
        for origin in dict.fromkeys(letter.origin for letter in letters):
            headers = [("origin", origin.encode()), ("dropped", by.encode())]
            send(kafka.dead_topic, b"", key=origin.encode(), headers=headers)


def with_value(kafka: KafkaSettings, letter: Letter) -> Letter:
    """Returns the letter with its bytes, which it reads from the origin of a letter by reference; raises `Fatal`."""
    if not letter.sha256:
        return letter
    position = letter.position
    if position is None:
        raise Fatal(
            f"dead letter {letter.id} does not name the position of its record (header 'origin': {letter.origin!r})",
            f"drop it: opinionwatch dead drop {letter.id}",
            EXIT_USAGE,
        )
    topic, partition, offset = position
    fetch_bytes = min(max(2 * letter.size, MAX_VALUE_BYTES), _MAX_FETCH_BYTES)
    with connected(kafka):
        consumer = KafkaConsumer(
            **client_options(kafka), enable_auto_commit=False, max_poll_records=1, max_partition_fetch_bytes=fetch_bytes
        )
        try:
            tp = TopicPartition(topic, partition)
            consumer.assign([tp])
            consumer.seek(tp, offset)
            found: list[Any] = next(iter(consumer.poll(timeout_ms=_TIMEOUT_MS).values()), [])
        finally:
            consumer.close()
    value = (found[0].value or b"") if found and found[0].offset == offset else b""
    if hashlib.sha256(value).hexdigest() != letter.sha256:
        raise Fatal(
            f"the {letter.size} bytes of dead letter {letter.id} are no longer at {letter.origin}",
            "retention has deleted them: send the record again from its source, and drop this letter",
            EXIT_UNAVAILABLE,
        )
    return replace(letter, value=value)


def replayable(kafka: KafkaSettings, letter: Letter) -> bool:
    """Whether the letter may be sent again: fewer than `MAX_REPLAYS` times, and never to a topic of the workers."""
    ours = {kafka.dead_topic, kafka.progress_topic, kafka.alerts_topic}
    return letter.replayed < MAX_REPLAYS and letter.position is not None and letter.position[0] not in ours


def replay(kafka: KafkaSettings, letters: Sequence[Letter]) -> tuple[int, int]:
    """Sends the raw bytes to their topics again, marked `replayed`; returns how many it sent and how many it refused.

    It refuses letters that are not `replayable`.
    """
    again = [letter for letter in letters if replayable(kafka, letter)]
    largest = min(max([MAX_VALUE_BYTES, *(letter.size for letter in again)]), _MAX_FETCH_BYTES)
    with producer(kafka, largest) as send:
        for letter in again:
            headers = [("replayed", str(letter.replayed + 1).encode()), ("origin", letter.origin.encode())]
            value = with_value(kafka, letter).value
            send(letter.origin.rsplit("/", 2)[0], value, key=letter.origin.encode(), headers=headers)
    return len(again), len(letters) - len(again)


def to_letter(record: Any) -> Letter:
    """Reads a record that any producer may have written: a field whose header is missing or invalid is empty."""
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
