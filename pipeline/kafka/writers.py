"""The topics that the workers write: dead letters and progress, through Faust's producer."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from typing import Any

from pipeline.domain.errors import Fatal, Transient
from pipeline.domain.ledger import Partition
from pipeline.domain.post import DeadLetter
from pipeline.domain.progress import Progress
from pipeline.kafka import consumer
from pipeline.kafka.admin import MAX_BYTES
from pipeline.kafka.strict import StrictApp

#: The client says "timeout" whatever is wrong, a topic that somebody deleted included.
_LOOK = "'opinionwatch check' names the cause where it lasts"

#: Progress is told again after it, which doubles nothing; the client would say nothing for a minute and a half.
PROGRESS_S = 15.0


class DeadTopic:
    """Implements `DeadLetters`: the raw bytes, with reason, stage, origin and first sight as headers.

    A record that the dead-letter topic does not take, its source topic allows larger ones, is buried by reference:
    without its bytes, with their number and SHA-256. They stay in the source topic until its retention ends.
    """

    def __init__(self, topic: Any, app: StrictApp) -> None:
        self._topic, self._app = topic, app

    async def sent_within(self, seconds: float) -> int | None:
        name = self._topic.get_topic_name()
        try:
            return await consumer.written_since(self._app, name, time.time() - seconds)
        except Exception as error:
            message = f"Kafka did not say how much {name} holds: {type(error).__name__}"
            raise Transient(message, remedy=_LOOK) from error

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
        if len(value) > MAX_BYTES:
            value, reference = b"", (len(value), hashlib.sha256(value).hexdigest())
        if reference:
            headers |= {"bytes": str(reference[0]).encode(), "sha256": reference[1].encode()}
        await durable(self._topic, origin, value, headers)


class ProgressTopic:
    """Implements `ProgressLog`."""

    def __init__(self, app: StrictApp, topic: Any) -> None:
        self._app, self._topic = app, topic

    async def send(self, progress: Progress) -> None:
        key = f"{progress.topic}/{progress.partition}".encode()
        try:
            await asyncio.wait_for(durable(self._topic, key, json.dumps(progress.to_json()).encode()), PROGRESS_S)
        except TimeoutError:
            message = f"Kafka did not take a record for {self._topic} within {PROGRESS_S:.0f} s"
            raise Transient(message, remedy=_LOOK) from None

    def end_offset(self, partition: Partition) -> int | None:
        return consumer.end_offset(self._app, *partition)

    def durable(self, partition: Partition) -> int | None:
        return consumer.durable(self._app, *partition)

    def open_transaction(self, partition: Partition) -> bool:
        return consumer.open_transaction(self._app, *partition)

    def partitions(self, topic: str) -> int:
        return consumer.partitions(self._app, topic)


async def durable(topic: Any, key: bytes, value: bytes, headers: dict[str, bytes] | None = None) -> None:
    """Returns when the brokers have the record; raises `Transient` or `Fatal`."""
    try:
        await consumer.send(topic, key, value, headers)
    except Fatal:
        raise
    except Exception as error:
        message = f"Kafka did not take a record for {topic}: {type(error).__name__}"
        raise Transient(message, remedy=_LOOK) from error
