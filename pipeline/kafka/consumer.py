"""Kafka through Faust: the app of a role, topics of raw bytes, and the agent that hands micro-batches on.

Nothing escapes the agent, so Faust never restarts one; what is not durable is never committed (`kafka.strict`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import faust
from aiokafka.errors import ClusterAuthorizationFailedError, TopicAuthorizationFailedError
from aiokafka.structs import TopicPartition

from models.folders import private_cache
from pipeline.domain.errors import Fatal, Transient
from pipeline.domain.post import Origin, Record
from pipeline.kafka.batches import Elided, read_in_bounded_memory
from pipeline.kafka.headers import header_number, header_texts
from pipeline.kafka.log_identity import KafkaError
from pipeline.kafka.resume import Bounds
from pipeline.kafka.strict import StrictApp
from pipeline.kafka.supervision import deaths, explained
from pipeline.settings import FlowSettings, KafkaSettings

#: A dead letter is as large as the record that it buries; the topics take as much (see kafka_tools).
MAX_RECORD_BYTES = 10_100_000


def make_app(role: str, kafka: KafkaSettings, brokers: str) -> StrictApp:
    """One app per role; its id is the consumer group. `brokers` is the resolved `host:port,...`."""
    read_in_bounded_memory()
    return StrictApp(
        f"{kafka.group}-{role}",
        broker=[f"kafka://{address}" for address in brokers.split(",")],
        broker_credentials=_credentials(kafka),
        broker_session_timeout=kafka.session_timeout_s,
        broker_heartbeat_interval=kafka.session_timeout_s / 6,
        broker_request_timeout=max(90.0, kafka.session_timeout_s * 1.5),
        broker_commit_interval=1.0,
        broker_max_poll_records=512,
        consumer_auto_offset_reset="earliest",
        consumer_metadata_max_age_ms=30_000,
        consumer_group_instance_id=f"{kafka.instance}-{role}" if kafka.instance else None,
        producer_acks=-1,
        producer_compression_type="gzip",
        producer_max_request_size=MAX_RECORD_BYTES,
        stream_wait_empty=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        store="memory://",
        # Faust makes this folder and keeps nothing in it: not where the worker happens to be started.
        datadir=str(private_cache("faust")),
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
    """Returns when the brokers have the record; raises `Fatal` where they refuse it to this user."""
    try:
        # Shielded: who gives up waiting must not cancel the future that Faust's own callback reads.
        await asyncio.shield(await topic.send(key=key, value=value, headers=headers or {}, force=True))
    except (TopicAuthorizationFailedError, ClusterAuthorizationFailedError):
        raise Fatal(
            f"Kafka does not let this user write topic {topic.get_topic_name()}",
            "grant kafka.username the operation Write on it, or set another user",
        ) from None


def end_offset(app: StrictApp, topic: str, partition: int) -> int | None:
    """The partition's end when the consumer last fetched from it, None where it has not yet, or has it no more."""
    try:
        found = app.consumer.highwater(TopicPartition(topic, partition))
    except AssertionError:  # aiokafka's word for a partition that a rebalance took, in a thread of its own
        return None
    return None if found is None else int(found)


def durable(app: StrictApp, topic: str, partition: int) -> int | None:
    """Below it every record of the partition is durable, or never comes; None where that is not known."""
    found = app.consumer.durable(TopicPartition(topic, partition))
    return None if found is None else int(found)


def open_transaction(app: StrictApp, topic: str, partition: int) -> bool:
    """Whether what is next in the partition belongs to a transaction that is not committed."""
    place = TopicPartition(topic, partition)
    try:
        stable, end = app.consumer.stable_offset(place), app.consumer.highwater(place)
    except AssertionError:  # see end_offset
        return False
    position = app.consumer.durable(place)
    return None not in {stable, end, position} and stable <= position < end


async def logs(app: StrictApp, topics: Iterable[str]) -> dict[str, str]:
    """The identity of each topic's log, as far as the brokers say; raises `Transient`."""
    try:
        return dict(await app.consumer.logs(list(topics)))
    except KafkaError as error:
        raise Transient(f"Kafka did not name its topics' logs: {type(error).__name__}") from error


async def written_since(app: StrictApp, topic: str, since_s: float) -> int:
    """Records of a topic with one partition, by their timestamps; `since_s` after the epoch. Raises as the client."""
    place = TopicPartition(topic, 0)
    first, ends = await app.consumer.since(place, round(since_s * 1000)), await app.consumer.highwaters(place)
    return 0 if first is None else max(0, int(ends[place]) - first)


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
    waits: Callable[[], bool] = lambda: False,
    slack_s: Callable[[], float] = lambda: 0.0,
) -> None:
    """Registers the agent: micro-batches go to `handle`, up to `flow.in_flight` at once, and are settled in order.

    `handle` returns when its records are durable. What it raises goes to `failed`; from then on nothing is settled
    and nothing is read: the process must end. `waits` says whether `handle` waits for another service just now,
    `slack_s` how long it could not begin another batch in earnest.
    """
    app.chunk_records = max(1, flow.batch_records // 4)
    app.held_records = flow.batch_records * (flow.in_flight + 1)
    app.waits = waits

    async def agent(stream: Any) -> None:
        window = MicroBatcher(flow.batch_records, flow.batch_wait_s)
        slots = asyncio.Semaphore(flow.in_flight)
        broken = asyncio.Event()
        running: set[asyncio.Task[None]] = set()

        async def one(events: list[Any]) -> None:
            try:
                await handle([_record(record) for event in events for record in event.message.records])
                if not broken.is_set():
                    for event in events:
                        app.consumer.settle(event.message)
                        event.ack()
            except asyncio.CancelledError:
                broken.set()
                raise
            except BaseException as error:
                broken.set()
                failed(error)
            finally:
                slots.release()

        async def dispatch() -> None:
            while True:
                await slots.acquire()
                events = [e for e in await window.take(lambda: bool(running), slack_s) if _current(app, e)]
                if broken.is_set():
                    await asyncio.Event().wait()
                if events:
                    task = asyncio.create_task(one(events))
                    running.add(task)
                    task.add_done_callback(running.discard)
                else:
                    slots.release()

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()):
                broken.set()
                failed(error)

        dispatching = asyncio.create_task(dispatch())
        dispatching.add_done_callback(ended)
        try:
            async for event in stream.noack().events():
                window.add(event, len(event.message.records))
        finally:
            for task in [dispatching, *running]:
                task.cancel()

    app.agent(topic, name=f"{app.conf.id}-agent")(agent)


def read_from(
    app: StrictApp,
    starts: Callable[[Mapping[tuple[str, int], Bounds]], Awaitable[Mapping[tuple[str, int], int]]],
    failed: Callable[[BaseException], None],
) -> None:
    """Lets `starts` say from which offset each partition is read, after each rebalance and where Kafka no longer has
    what is next. What it raises goes to `failed`, and nothing more is read.
    """

    async def chosen(found: dict[Any, Bounds]) -> dict[Any, int] | None:
        try:
            offsets = await starts({(tp.topic, tp.partition): bounds for tp, bounds in found.items()})
        except Exception as error:
            failed(error)
            return None
        return {tp: offsets[tp.topic, tp.partition] for tp in found}

    app.conf.consumer_auto_offset_reset = "none"
    app.starts = chosen


class MicroBatcher:
    """Chunks on their way into a batch: closed when it is full, when all is idle, or when waiting is of no more use."""

    def __init__(self, most: int, wait_s: float) -> None:
        self._most, self._wait_s = most, wait_s
        self._waiting: deque[tuple[Any, int]] = deque()
        self._news = asyncio.Event()

    def add(self, chunk: Any, records: int) -> None:
        """A chunk of `records` >= 1 records, the next in order."""
        self._waiting.append((chunk, records))
        self._news.set()

    async def take(self, busy: Callable[[], bool], slack_s: Callable[[], float] = lambda: 0.0) -> list[Any]:
        """The next batch, never empty; a chunk of more records than fit is a batch alone.

        While `busy()`, it waits for company, `wait_s` seconds, and longer while there is time to spare. A lone record
        at an idle worker does not wait.
        """
        while not self._waiting:
            self._news.clear()
            await self._news.wait()
        first, records = self._waiting.popleft()
        clock = asyncio.get_running_loop().time
        taken, ends = [first], clock() + self._wait_s
        while True:
            while self._waiting and records + self._waiting[0][1] <= self._most:
                chunk, more = self._waiting.popleft()
                taken.append(chunk)
                records += more
            left = max(ends - clock(), slack_s())
            if self._waiting or records >= self._most or left <= 0 or not busy():
                return taken
            self._news.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), min(left, self._wait_s))


def _current(app: StrictApp, event: Any) -> bool:
    """Whether the chunk came after the last rebalance; one of before belongs to whoever has its partition now."""
    return bool(event.message.generation_id == app.consumer_generation_id)


def _record(record: Any) -> Record:
    return Record(
        Origin(record.topic, record.partition, record.offset),
        int(record.timestamp or 0),
        record.value or b"",
        header_number(header_texts(record.headers).get("replayed", "")),
        (record.value.size, record.value.sha256) if isinstance(record.value, Elided) else None,
    )


async def start(app: StrictApp, brokers: str, timeout_s: float = 30.0) -> None:
    """Starts the app in the running loop; raises what dies meanwhile, and `Fatal` (exit 69) where no broker answers."""
    starting = asyncio.create_task(app.start())
    try:
        await asyncio.wait_for(_started_or_dead(app, starting), timeout_s)
    except Exception as error:
        starting.cancel()
        if isinstance(error, Fatal):
            raise
        raise Fatal(
            f"Kafka at {brokers} cannot be reached: {type(error).__name__}",
            "start the broker or set kafka.bootstrap_servers",
            69,
        ) from None


async def _started_or_dead(app: StrictApp, starting: asyncio.Task[None]) -> None:
    """The client goes on waiting for its group after what has kept it out of it for good."""
    while not (await asyncio.wait([starting], timeout=1.0))[0]:
        for dead in deaths(app):
            raise explained(dead)
    starting.result()
