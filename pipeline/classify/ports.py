"""What the flow needs of Kafka: the dead-letter topic and the progress topic. `pipeline.kafka` implements both."""

from __future__ import annotations

from typing import Protocol

from pipeline.domain.ledger import Partition
from pipeline.domain.post import DeadLetter
from pipeline.domain.progress import Progress


class DeadLetters(Protocol):
    """The dead-letter topic."""

    async def send(self, letter: DeadLetter) -> None:
        """Returns when the letter is durable; raises `Transient`."""
        ...

    async def sent_within(self, seconds: float) -> int | None:
        """How many letters all workers have sent within the last `seconds`; None if Kafka cannot say.

        Raises `Transient`.
        """
        ...


class ProgressLog(Protocol):
    """The progress topic, from which the alert role learns how far the index is, and the state of source partitions."""

    async def send(self, progress: Progress) -> None:
        """Raises `Transient`."""
        ...

    def end_offset(self, partition: Partition) -> int | None:
        """The end of a source partition at the last fetch; None before the first one."""
        ...

    def durable_offset(self, partition: Partition) -> int | None:
        """The offset below which every record is durable, or will never be delivered; None if it is unknown."""
        ...

    def has_open_transaction(self, partition: Partition) -> bool:
        """Whether the next record belongs to a transaction that is not committed yet."""
        ...

    def partition_count(self, topic: str) -> int:
        """The number of partitions of a source topic; 0 if it is unknown."""
        ...
