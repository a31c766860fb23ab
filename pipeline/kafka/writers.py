"""The topics that the workers write, dead letters and progress, through Faust's producer."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

from aiokafka.errors import ClusterAuthorizationFailedError, TopicAuthorizationFailedError

from pipeline.domain.errors import Fatal, Transient
from pipeline.domain.ledger import Partition
from pipeline.domain.post import DeadLetter
from pipeline.domain.progress import Progress
from pipeline.kafka import partitions
from pipeline.kafka.limits import MAX_VALUE_BYTES
from pipeline.kafka.strict import StrictApp

#: The client reports every failure as a timeout, including that a topic was deleted.
_REMEDY = "run 'opinionwatch check' to find the cause if this persists"

#: A progress record is sent again after this time, which duplicates nothing; the client waits for a minute and a half.
PROGRESS_S = 15.0


class DeadTopic:
    """Implements `DeadLetters`: a letter is the raw bytes, with reason, stage, origin and first sight as headers.

    A record may be too large for the dead-letter topic, because its source topic allows larger ones. Then the letter is
    a reference: the number of bytes and their SHA-256. The bytes stay in the source topic until its retention ends.
    `now` is the wall clock, in seconds after the epoch.
    """

    def __init__(self, topic: Any, app: StrictApp, now: Callable[[], float] = time.time) -> None:
        self._topic, self._app, self._now = topic, app, now

    async def sent_within(self, seconds: float) -> int | None:
        name = self._topic.get_topic_name()
        try:
            return await partitions.written_since(self._app, name, self._now() - seconds)
        except Exception as error:
            message = f"Kafka did not say how many records {name} has: {type(error).__name__}"
            raise Transient(message, remedy=_REMEDY) from error

    async def send(self, letter: DeadLetter) -> None:
        origin = str(letter.record.origin).encode()
        seen = letter.record.time
        headers = {
            "reason": letter.reason.encode(),
            "stage": letter.stage.encode(),
            "origin": origin,
            "first_seen": (seen.isoformat() if seen else "unknown").encode(),
            "replayed": str(letter.record.replayed).encode(),
        }
        value, reference = letter.record.value, letter.record.by_reference
        if len(value) > MAX_VALUE_BYTES:
            value, reference = b"", (len(value), hashlib.sha256(value).hexdigest())
        if reference:
            headers |= {"bytes": str(reference[0]).encode(), "sha256": reference[1].encode()}
        await send(self._topic, origin, value, headers)


class ProgressTopic:
    """Implements `ProgressLog`."""

    def __init__(self, app: StrictApp, topic: Any) -> None:
        self._app, self._topic = app, topic

    async def send(self, progress: Progress) -> None:
        key = f"{progress.topic}/{progress.partition}".encode()
        try:
            await asyncio.wait_for(send(self._topic, key, json.dumps(progress.to_json()).encode()), PROGRESS_S)
        except TimeoutError:
            message = f"Kafka did not take a record for {self._topic} within {PROGRESS_S:.0f} s"
            raise Transient(message, remedy=_REMEDY) from None

    def end_offset(self, partition: Partition) -> int | None:
        return partitions.end_offset(self._app, *partition)

    def durable_offset(self, partition: Partition) -> int | None:
        return partitions.durable_offset(self._app, *partition)

    def has_open_transaction(self, partition: Partition) -> bool:
        return partitions.has_open_transaction(self._app, *partition)

    def partition_count(self, topic: str) -> int:
        return partitions.partition_count(self._app, topic)


async def send(topic: Any, key: bytes, value: bytes, headers: dict[str, bytes] | None = None) -> None:
    """Returns when the brokers have the record; raises `Transient`, or `Fatal` if they refuse it to this user."""
    try:
        # Shielded, because a caller that gives up must not cancel the future that Faust's own callback reads.
        await asyncio.shield(await topic.send(key=key, value=value, headers=headers or {}, force=True))
    except (TopicAuthorizationFailedError, ClusterAuthorizationFailedError):
        raise Fatal(
            f"Kafka does not let this user write topic {topic.get_topic_name()}",
            "grant kafka.username the operation Write on it, or set another user",
        ) from None
    except Exception as error:
        message = f"Kafka did not take a record for {topic}: {type(error).__name__}"
        raise Transient(message, remedy=_REMEDY) from error
