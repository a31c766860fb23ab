"""Decides from which offset each partition is read, and reports when that is not where the group had stopped."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Literal

from pipeline.domain.errors import EXIT_UNAVAILABLE, Fatal
from pipeline.domain.ledger import Ledger, Partition
from pipeline.domain.metrics import Metrics
from pipeline.domain.progress import same_log
from pipeline.kafka.start_offset import PartitionBounds, start_offset

log = logging.getLogger(__name__)


class StartOffsets:
    """One per process: it remembers which log each partition was when this process first read it."""

    def __init__(self, on_deleted: Literal["stop", "skip"], metrics: Metrics) -> None:
        self._on_deleted, self._metrics = on_deleted, metrics
        self._logs: dict[Partition, str] = {}
        self._skipped: Counter[Partition] = Counter()

    def log_of(self, partition: Partition) -> str:
        """Returns the identity of the log that is read; "" if the brokers do not name it."""
        return self._logs.get(partition, "")

    def take_skipped(self, partition: Partition) -> int:
        """Returns how many records were deleted before they were read, and resets that number to 0."""
        return self._skipped.pop(partition, 0)

    def refuse_replaced_logs(self, logs: Mapping[str, str]) -> None:
        """Raises `Fatal` if a topic has become another log: offsets of the one mean nothing in the other."""
        for (topic, partition), known in self._logs.items():
            if not same_log(known, logs.get(topic, "")):
                raise Fatal(
                    f"topic {topic} was deleted and created again while this worker read its partition {partition}",
                    "start the worker again: it reads the new topic from its beginning",
                    EXIT_UNAVAILABLE,
                )

    def resolve(self, ledger: Ledger, bounds_by_partition: Mapping[Partition, PartitionBounds]) -> dict[Partition, int]:
        """Returns the first offset to read of each partition.

        Raises `Fatal` if Kafka has deleted records that were never read, unless they are to be skipped.
        """
        self.refuse_replaced_logs({topic: bounds.log for (topic, _), bounds in bounds_by_partition.items()})
        starts, deleted = {}, {}
        for partition, bounds in bounds_by_partition.items():
            recorded = ledger.next_offset(partition, bounds.log)
            former = ledger.select_log(partition, bounds.log, bounds.end)
            start = start_offset(bounds, recorded=recorded, replaced=former is not None and recorded is None)
            name = f"{partition[0]}/{partition[1]}"
            if start.reason:
                log.warning("start offset: partition=%s offset=%d reason=%s", name, start.offset, start.reason)
            elif recorded is not None and start.offset > recorded + start.deleted:
                reason = "the group was moved, or only transaction markers and aborted records lie between"
                log.info("start offset: partition=%s offset=%d ledger=%d reason=%s", name, start.offset, recorded,
                         reason)  # fmt: skip
            if start.deleted:
                deleted[name] = start.deleted
            starts[partition] = start.offset
            self._logs[partition] = bounds.log
            self._skipped[partition] += start.deleted
        if deleted:
            self._report_deleted(deleted)
        return starts

    def _report_deleted(self, deleted: Mapping[str, int]) -> None:
        lost = ", ".join(f"{n} of {name}" for name, n in deleted.items())
        if self._on_deleted == "stop":
            raise Fatal(
                f"Kafka has deleted records that were never read: {lost}",
                "send them again from their source, or set kafka.on_deleted = 'skip' to continue without them",
            )
        log.warning("skipped records that were never read because Kafka has deleted them: %s", lost)
        for name, n in deleted.items():
            self._metrics.skipped.labels(name.rpartition("/")[0]).inc(n)
