"""The in-process broker for the demo and for tests: librdkafka's mock cluster inside confluent-kafka, in memory.

It keeps about 5 MB per partition and drops older records, so producers must not run far ahead of the readers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.domain.errors import Fatal


class EmbeddedBroker:
    """Runs as long as this object lives; `address` is `host:port`."""

    def __init__(self) -> None:
        try:
            from confluent_kafka import Producer
        except ImportError:
            raise Fatal("the embedded broker needs confluent-kafka", "pip install 'opinionwatch[demo]'") from None
        self._cluster: Any = Producer(
            {"bootstrap.servers": "embedded", "test.mock.num.brokers": 1, "log_level": 0, "linger.ms": 5}
        )
        brokers = self._cluster.list_topics(timeout=10).brokers
        self.address = ",".join(f"{b.host}:{b.port}" for b in brokers.values())

    def create(self, topics: Sequence[str]) -> None:
        """Creates topics: the broker does so when a client first asks for one."""
        for topic in topics:
            self._cluster.list_topics(topic, timeout=10)

    def send(self, topic: str, key: bytes, value: bytes, timestamp_ms: int, partition: int) -> None:
        """Queues a record; `flush` waits until the broker has it."""
        self._cluster.produce(topic, value, key, partition=partition, timestamp=timestamp_ms)
        self._cluster.poll(0)

    def flush(self) -> None:
        """Waits up to 30 seconds until the broker has every queued record."""
        self._cluster.flush(30)
