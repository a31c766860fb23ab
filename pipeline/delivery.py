"""Strict at-least-once offsets on faust-streaming 0.15.3, and the agent loop that keeps them.

What Faust does by itself loses posts (docs/delivery.md has the measured table). Here:
- every delivered offset is tracked; the commit is the contiguous acked prefix of them, so gaps in the broker's
  log (compaction, transaction markers) are skipped, and a record that was never acked pins the commit: visible
  as lag, never lost;
- what is acked is committed before partitions are revoked;
- nothing escapes the agent, so Faust never restarts one.
It overrides private methods: Faust is pinned, and tests/unit/test_delivery.py fails when they move.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import faust
from aiokafka.structs import TopicPartition
from faust.transport.drivers import aiokafka as driver

from pipeline.errors import Fatal
from pipeline.posts import Origin, Record
from pipeline.settings import FlowSettings, KafkaSettings

log = logging.getLogger(__name__)
#: A dead letter is as large as the record that it buries; the topics take as much (see kafka_tools).
MAX_RECORD_BYTES = 10_100_000


class Prefix:
    """Delivered offsets of one partition and which of them are acked. Pure.

    >>> p = Prefix()
    >>> for offset in (5, 6, 9): p.deliver(offset)
    >>> p.ack([6]); p.advance()
    >>> p.ack([5]); p.advance()
    7
    """

    def __init__(self) -> None:
        self._pending: deque[int] = deque()
        self._acked: set[int] = set()

    def deliver(self, offset: int) -> None:
        """Offsets come ascending; a lower one means a seek back: what was delivered from there on starts anew."""
        while self._pending and self._pending[-1] >= offset:
            self._acked.discard(self._pending.pop())
        self._pending.append(offset)

    def ack(self, offsets: Iterable[int]) -> None:
        self._acked.update(offsets)

    def advance(self) -> int | None:
        """Takes the acked prefix out and returns the next offset to read, None where nothing is new."""
        last = None
        while self._pending and self._pending[0] in self._acked:
            last = self._pending.popleft()
            self._acked.discard(last)
        if not self._pending:
            self._acked.clear()
        return None if last is None else last + 1

    def __len__(self) -> int:
        return len(self._pending)


class StrictConsumer(driver.Consumer):  # type: ignore[misc]
    """Faust's consumer with its offset bookkeeping replaced."""

    def __init__(self, transport: Any, callback: Callable[[Any], Awaitable[None]], *args: Any, **kwargs: Any) -> None:
        self._prefixes: dict[Any, Prefix] = defaultdict(Prefix)

        async def tracked(message: Any) -> None:
            if self.app.topics.acks_enabled_for(message.topic):
                self._prefixes[message.tp].deliver(message.offset)
            await callback(message)

        super().__init__(transport, tracked, *args, **kwargs)

    def _new_offset(self, tp: Any) -> int | None:
        acked = self._acked[tp]
        prefix = self._prefixes[tp]
        if acked:
            prefix.ack(acked)
            self._acked_index[tp].difference_update(acked)
            acked.clear()
        return prefix.advance()

    async def _add_gap(self, tp: Any, offset_from: int, offset_to: int) -> None:
        """Gaps need no bookkeeping: only delivered offsets count."""

    async def on_partitions_revoked(self, revoked: set[Any]) -> None:
        try:
            await self.commit()
        except Exception:
            log.warning("commit before a rebalance failed; the records will be delivered again")
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[Any], generation_id: int = 0) -> None:
        self._prefixes.clear()
        await super().on_partitions_assigned(assigned, generation_id)


class _StrictTransport(driver.Transport):  # type: ignore[misc]
    Consumer = StrictConsumer


class StrictApp(faust.App):  # type: ignore[misc]
    """A Faust app whose consumers commit strictly."""

    def _new_transport(self) -> Any:
        return _StrictTransport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> Any:
        return _StrictTransport(self.conf.broker_producer, self)


def make_app(role: str, kafka: KafkaSettings, brokers: str) -> StrictApp:
    """One app per role; its id is the consumer group. `brokers` is the resolved `host:port,...`."""
    return StrictApp(
        f"{kafka.group}-{role}",
        broker=[f"kafka://{address}" for address in brokers.split(",")],
        broker_credentials=_credentials(kafka),
        broker_session_timeout=kafka.session_timeout_s,
        broker_heartbeat_interval=kafka.session_timeout_s / 6,
        broker_request_timeout=max(90.0, kafka.session_timeout_s * 1.5),
        broker_commit_interval=1.0,
        broker_max_poll_records=2000,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=f"{kafka.instance}-{role}" if kafka.instance else None,
        producer_acks=-1,
        producer_compression_type="gzip",
        producer_max_request_size=MAX_RECORD_BYTES,
        stream_wait_empty=False,
        stream_buffer_maxsize=2048,
        topic_allow_declare=False,
        topic_disable_leader=True,
        store="memory://",
        web_enabled=False,
    )


def _credentials(kafka: KafkaSettings) -> Any:
    if kafka.security_protocol == "PLAINTEXT":
        return None
    context = ssl.create_default_context(cafile=kafka.ca_file or None) if "SSL" in kafka.security_protocol else None
    if not kafka.security_protocol.startswith("SASL"):
        return faust.SSLCredentials(context=context)
    return faust.SASLCredentials(
        username=kafka.username,
        password=kafka.password.get_secret_value(),
        mechanism=kafka.sasl_mechanism,
        ssl_context=context,
    )


def raw_topic(app: StrictApp, *names: str) -> Any:
    """Bytes in, bytes out: decoding is ours, so that a poison is our value."""
    return app.topic(*names, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")


async def send(topic: Any, key: bytes, value: bytes, headers: dict[str, bytes] | None = None) -> None:
    """Returns when the brokers have the record."""
    await (await topic.send(key=key, value=value, headers=headers or {}, force=True))


def end_offset(app: StrictApp, topic: str, partition: int) -> int | None:
    """The partition's end when the consumer last fetched from it, None where it has not yet."""
    found = app.consumer.highwater(TopicPartition(topic, partition))
    return None if found is None else int(found)


async def first_offset(app: StrictApp, topic: str, partition: int) -> int:
    """The oldest record of the partition; raises what the client raises."""
    place = TopicPartition(topic, partition)
    return int((await app.consumer.earliest_offsets(place))[place])


def partitions(app: StrictApp, topic: str) -> int:
    """How many partitions a topic that the app reads has, 0 where its consumer has not heard yet."""
    return int(app.consumer.topic_partitions(topic) or 0)


def assigned(app: StrictApp, topic: str) -> list[int]:
    """Partitions of `topic` that this process holds now."""
    return [tp.partition for tp in app.consumer.assignment() if tp.topic == topic] if app.started else []


def consume(
    app: StrictApp,
    topic: Any,
    handle: Callable[[Sequence[Record]], Awaitable[None]],
    flow: FlowSettings,
    failed: Callable[[BaseException], None],
) -> None:
    """Registers the agent: micro-batches go to `handle`, up to `flow.in_flight` at once, and are acked in order.

    `handle` returns when its records are durable. What it raises goes to `failed`; from then on nothing is
    acked and nothing is read: the process must end.
    """

    async def agent(stream: Any) -> None:
        slots = asyncio.Semaphore(flow.in_flight)
        broken = asyncio.Event()

        async def one(events: list[Any]) -> None:
            try:
                await handle([_record(event.message) for event in events])
                if not broken.is_set():
                    for event in events:
                        event.ack()
            except asyncio.CancelledError:
                broken.set()
                raise
            except BaseException as error:
                broken.set()
                failed(error)
            finally:
                slots.release()

        running: set[asyncio.Task[None]] = set()
        try:
            async for events in stream.noack_take(flow.batch_records, within=flow.batch_wait_s):
                await slots.acquire()
                if broken.is_set():
                    await asyncio.Event().wait()
                task = asyncio.create_task(one(list(events)))
                running.add(task)
                task.add_done_callback(running.discard)
        finally:
            for task in running:
                task.cancel()

    app.agent(topic, name=f"{app.conf.id}-agent")(agent)


def _record(message: Any) -> Record:
    origin = Origin(message.topic, message.partition, message.offset)
    headers = dict(message.headers or {})
    replayed = headers.get("replayed", b"0")
    return Record(
        origin, round(message.timestamp * 1000), message.value or b"", int(replayed) if replayed.isdigit() else 0
    )


async def start(app: StrictApp, brokers: str, timeout_s: float = 30.0) -> None:
    """Starts the app in the running loop; raises `Fatal` (exit 69) where no broker answers."""
    try:
        await asyncio.wait_for(app.start(), timeout_s)
    except Exception as error:
        raise Fatal(
            f"Kafka at {brokers} cannot be reached: {type(error).__name__}",
            "start the broker or set kafka.bootstrap_servers",
            69,
        ) from None
