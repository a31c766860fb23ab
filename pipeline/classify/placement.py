"""From where each partition is read, and what is said where that is not where the group had stopped."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Literal

from pipeline.domain.errors import EXIT_UNAVAILABLE, Fatal
from pipeline.domain.ledger import Ledger, Partition
from pipeline.domain.metrics import Metrics
from pipeline.domain.progress import same_log
from pipeline.kafka.resume import Bounds, start_of

log = logging.getLogger(__name__)


class Placement:
    """One per process: it knows which log each partition was when it was first read."""

    def __init__(self, on_deleted: Literal["stop", "skip"], metrics: Metrics) -> None:
        self._on_deleted, self._metrics = on_deleted, metrics
        self._logs: dict[Partition, str] = {}
        self._skipped: Counter[Partition] = Counter()

    def log_of(self, partition: Partition) -> str:
        """The identity of the log that is read, "" where the brokers name none."""
        return self._logs.get(partition, "")

    def skipped(self, partition: Partition) -> int:
        """Records that were deleted before they were read, each told once."""
        return self._skipped.pop(partition, 0)

    def refuse_other_logs(self, logs: Mapping[str, str]) -> None:
        """Raises `Fatal` where a topic is another log by now than the one that is read: offsets of one mean nothing in
        the other.
        """
        for (topic, partition), known in self._logs.items():
            if not same_log(known, logs.get(topic, "")):
                raise Fatal(
                    f"topic {topic} was deleted and created again while this worker read partition {partition} of it",
                    "start the worker again: it reads the new topic from its beginning",
                    EXIT_UNAVAILABLE,
                )

    def starts(self, ledger: Ledger, found: Mapping[Partition, Bounds]) -> dict[Partition, int]:
        """The first offset to read of each partition; raises `Fatal` where records are gone that nobody has read."""
        self.refuse_other_logs({topic: bounds.log for (topic, _), bounds in found.items()})
        starts, gone = {}, {}
        for key, bounds in found.items():
            durable = ledger.next_offset(key, bounds.log)
            former = ledger.locate(key, bounds.log, bounds.end)
            start = start_of(bounds, books=durable, closed=former is not None and durable is None)
            name = f"{key[0]}/{key[1]}"
            if start.why:
                log.warning("%s is read from offset %d: %s", name, start.offset, start.why)
            elif durable is not None and start.offset > durable + start.deleted:
                why = "somebody moved the group, or only markers and aborted records of transactions lie between"
                log.info("%s is read from offset %d, and the books end at %d: %s", name, start.offset, durable, why)
            if start.deleted:
                gone[name] = start.deleted
            starts[key] = start.offset
            self._logs[key] = bounds.log
            self._skipped[key] += start.deleted
        lost = ", ".join(f"{n} of {name}" for name, n in gone.items())
        if gone and self._on_deleted == "stop":
            raise Fatal(
                f"Kafka has deleted records that were never read: {lost}",
                "send them again from their source, or set kafka.on_deleted = 'skip' to go on without them",
            )
        if gone:
            log.warning("Kafka has deleted records that were never read, they are skipped: %s", lost)
            for name, n in gone.items():
                self._metrics.skipped.labels(name.rpartition("/")[0]).inc(n)
        return starts
