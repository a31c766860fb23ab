"""The Faust agent that hands micro-batches to the flow.

No exception leaves the agent, so Faust never restarts it, and what is not durable is never committed (`kafka.strict`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from pipeline.domain.post import Origin, Record
from pipeline.kafka.batches import OmittedValue
from pipeline.kafka.headers import header_number, header_texts
from pipeline.kafka.micro_batcher import MicroBatcher
from pipeline.kafka.start_offset import PartitionBounds
from pipeline.kafka.strict import StrictApp
from pipeline.settings import FlowSettings

Handler = Callable[[Sequence[Record]], Awaitable[None]]
StartOffsetResolver = Callable[[Mapping[tuple[str, int], PartitionBounds]], Awaitable[Mapping[tuple[str, int], int]]]


def consume(
    app: StrictApp,
    topic: Any,
    handle: Handler,
    flow: FlowSettings,
    failed: Callable[[BaseException], None],
    is_waiting: Callable[[], bool] = lambda: False,
    slack_s: Callable[[], float] = lambda: 0.0,
) -> None:
    """Registers an agent that passes micro-batches to `handle`, up to `flow.in_flight` at once.

    `handle` returns when its records are durable. What it raises goes to `failed`; after that the agent reads nothing
    and commits nothing, and the process must end. `is_waiting()` says whether `handle` waits for another service now,
    `slack_s()` how many seconds the next batch could not start inference anyway.
    """
    app.chunk_records = max(1, flow.batch_records // 4)
    app.max_uncommitted_records = flow.batch_records * (flow.in_flight + 1)
    app.is_waiting = is_waiting

    async def agent(stream: Any) -> None:
        await _Dispatcher(app, handle, flow, failed, slack_s).run(stream)

    app.agent(topic, name=f"{app.conf.id}-agent")(agent)


def choose_start_offsets(app: StrictApp, resolve: StartOffsetResolver, failed: Callable[[BaseException], None]) -> None:
    """Lets `resolve` choose the offset from which each partition is read, after each rebalance and whenever Kafka no
    longer has the next record. What it raises goes to `failed`, and the app reads nothing more.
    """

    async def resolved(bounds: dict[Any, PartitionBounds]) -> dict[Any, int] | None:
        try:
            offsets = await resolve({(tp.topic, tp.partition): found for tp, found in bounds.items()})
        except Exception as error:
            failed(error)
            return None
        return {tp: offsets[tp.topic, tp.partition] for tp in bounds}

    app.conf.consumer_auto_offset_reset = "none"
    app.resolve_start_offsets = resolved


class _Dispatcher:
    """Collects the chunks of one stream into batches and processes several batches at once."""

    def __init__(
        self,
        app: StrictApp,
        handle: Handler,
        flow: FlowSettings,
        failed: Callable[[BaseException], None],
        slack_s: Callable[[], float],
    ) -> None:
        self._app, self._handle, self._failed, self._slack_s = app, handle, failed, slack_s
        self._batcher: MicroBatcher[Any] = MicroBatcher(flow.batch_records, flow.batch_wait_s)
        self._slots = asyncio.Semaphore(flow.in_flight)
        self._broken = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()

    async def run(self, stream: Any) -> None:
        """Reads the stream until it ends or is cancelled."""
        dispatching = asyncio.create_task(self._dispatch())
        dispatching.add_done_callback(self._dispatch_ended)
        try:
            async for event in stream.noack().events():
                self._batcher.add(event, len(event.message.records))
        finally:
            for task in [dispatching, *self._running]:
                task.cancel()

    async def _dispatch(self) -> None:
        while True:
            await self._slots.acquire()
            taken = await self._batcher.take(lambda: bool(self._running), self._slack_s)
            events = [event for event in taken if self._is_current(event)]
            if self._broken.is_set():
                await asyncio.Event().wait()
            if events:
                task = asyncio.create_task(self._process(events))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            else:
                self._slots.release()

    def _dispatch_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            self._broken.set()
            self._failed(error)

    async def _process(self, events: Sequence[Any]) -> None:
        try:
            await self._handle([to_record(raw) for event in events for raw in event.message.records])
            if not self._broken.is_set():
                for event in events:
                    self._app.consumer.mark_durable(event.message)
                    event.ack()
        except asyncio.CancelledError:
            self._broken.set()
            raise
        except BaseException as error:
            self._broken.set()
            self._failed(error)
        finally:
            self._slots.release()

    def _is_current(self, event: Any) -> bool:
        """Whether the chunk came after the last rebalance; an earlier one belongs to the partition's new owner."""
        return bool(event.message.generation_id == self._app.consumer_generation_id)


def to_record(raw: Any) -> Record:
    """Converts a record of aiokafka."""
    return Record(
        Origin(raw.topic, raw.partition, raw.offset),
        int(raw.timestamp or 0),
        raw.value or b"",
        header_number(header_texts(raw.headers).get("replayed", "")),
        (raw.value.size, raw.value.sha256) if isinstance(raw.value, OmittedValue) else None,
    )
