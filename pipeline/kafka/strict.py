"""Strict at-least-once offsets on faust-streaming 0.15.3. Only this file overrides Faust's private methods.

Stock Faust loses posts (docs/research/delivery.md has the measurements). This file changes how it fetches and commits:
- Records reach the stream in chunks: consecutive records of one partition form one message, so Faust pays its cost per
  message (about 100 microseconds) once per chunk.
- Only the contiguous prefix of durable chunks is committed, and only `mark_durable` makes a chunk durable. Faust itself
  acks the messages that its stream skips during a rebalance; those acks have no effect here.
- Durable records are committed before their partitions are revoked. A failed commit is made again a second later (in
  stock Faust it crashes the consumer, which then does nothing), and ends the process if Kafka keeps refusing it.
- Records of uncommitted transactions are not read, and commits pass offsets that are never delivered: transaction
  markers, aborted records and records that compaction removed.
- `StrictApp.resolve_start_offsets` chooses where each partition is read from, after each rebalance and whenever Kafka
  no longer has the next record: the client's defaults never skip anything.
- The records that are read ahead of the durable ones are bounded in number and in bytes; at the bound, fetching stops.
  A worker that waits for the store or the broker stays a member of its group. A worker that is merely slow is still
  fenced by max.poll.interval.
Faust is pinned, and tests/unit/test_strict.py fails when a private method that this file relies on changes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from typing import Any

import faust
from aiokafka import errors
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers import aiokafka as driver

from pipeline.kafka.commit_health import CommitHealth
from pipeline.kafka.commit_tracker import CommitTracker
from pipeline.kafka.log_identity import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError, log_identities
from pipeline.kafka.start_offset import PartitionBounds

log = logging.getLogger(__name__)
#: A waiting worker looks at the fetcher this often, which resets max.poll.interval and keeps it in its group.
_LOOK_S = 1.0
#: Temporary failures of a commit that aiokafka does not mark as retriable. After a rebalance, the next owner of the
#: partition reads on from the committed offset.
_TEMPORARY = (
    TimeoutError, errors.KafkaTimeoutError, errors.CommitFailedError, errors.IllegalStateError,
    errors.UnknownMemberIdError, errors.IllegalGenerationError, errors.RebalanceInProgressError,
)  # fmt: skip
#: A commit that takes longer is abandoned and made again, because rebalances and the shutdown wait for it.
_COMMIT_S = 5.0
#: The pause between two attempts to resolve start offsets.
_RESOLVE_RETRY_S = 0.5
#: Without this limit, the client would wait forever for a topic that does not exist.
_ANSWER_S = 10.0


class StrictConsumer(driver.Consumer):  # type: ignore[misc]
    """Faust's consumer with its own fetching and offset tracking."""

    def __init__(self, transport: Any, callback: Callable[[Any], Awaitable[None]], *args: Any, **kwargs: Any) -> None:
        self._trackers: dict[Any, CommitTracker] = defaultdict(CommitTracker)
        self._room = asyncio.Event()
        self.commit_health = CommitHealth()
        #: Partitions whose start offset is not resolved yet, with the committed offset; None if there is none.
        self._unresolved: dict[Any, int | None] = {}
        self._resolve_failed = False

        async def tracked(chunk: Any) -> None:
            records = chunk.records
            size_bytes = sum(len(r.value or b"") for r in records)
            tracker = self._trackers[chunk.tp]
            chunk.state = tracker.deliver(records[0].offset, chunk.offset, len(records), size_bytes)
            await callback(chunk)

        super().__init__(transport, tracked, *args, **kwargs)

    def mark_durable(self, chunk: Any) -> None:
        """Makes a chunk committable. For a chunk delivered before a rebalance, this changes nothing."""
        chunk.state.durable = True
        self._mark_for_commit(chunk.tp)
        self._room.set()

    def _mark_for_commit(self, tp: Any) -> None:
        """Faust commits the partitions that have an entry here, even an empty one."""
        self._acked[tp]  # noqa: B018

    def uncommitted_records(self, tp: Any) -> int:
        """Returns how many records of a partition are delivered and not durable yet."""
        return self._trackers[tp].uncommitted[0] if tp in self._trackers else 0

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[Any, Any]]:
        """Yields what the fetcher has in chunks, one partition after the other."""
        if (self._unresolved and not await self._resolve_start_offsets()) or not await self._has_room():
            return
        try:
            records, active = await self._wait_next_records(timeout)
        except (OffsetOutOfRangeError, NoOffsetForPartitionError) as error:
            if self.app.resolve_start_offsets is None:
                raise
            lost = error.args[0]
            self._unresolved.update(lost if isinstance(lost, dict) else {lost: None})
            return
        generation = self.app.consumer_generation_id
        if records is None or self.should_stop:
            return
        if not self.flow_active:
            await self._seek_back()
            return
        size = self.app.chunk_records
        for tp, found in records.items():
            if active is None or tp in active or tp in self._buffered_partitions:
                for at in range(0, len(found), size):
                    if not self.flow_active or self.app.consumer_generation_id != generation:
                        return
                    chunk = self._chunk(tp, found[at : at + size])
                    yield tp, chunk
                    if not hasattr(chunk, "state"):  # a rebalance came before the chunk was delivered
                        return
        self._note_positions()

    def _note_positions(self) -> None:
        """Between two fetches, a position tells how far records were delivered or will never be."""
        for tp, position in self._positions().items():
            tracker = self._trackers[tp]
            tracker.note_position(position)
            if tracker.durable_offset != self._committed_offset[tp]:
                self._mark_for_commit(tp)

    def _positions(self) -> dict[Any, int]:
        subscription = self._thread._ensure_consumer()._subscription.subscription  # noqa: SLF001
        if subscription is None or subscription.assignment is None:
            return {}
        states = {tp: subscription.assignment.state_value(tp) for tp in self._get_active_partitions()}
        return {tp: s.position for tp, s in states.items() if s is not None and s.has_valid_position}

    def durable_offset(self, tp: Any) -> int | None:
        """Returns the offset below which every record is durable, or will never be delivered; None if it is unknown."""
        return self._trackers[tp].durable_offset if tp in self._trackers and tp not in self._unresolved else None

    def stable_offset(self, tp: Any) -> int | None:
        """Returns the offset at which the first open transaction begins, or the end; None if it is unknown."""
        found = self._thread._ensure_consumer().last_stable_offset(tp)  # noqa: SLF001
        return None if found is None or found < 0 else int(found)

    async def perform_seek(self) -> None:
        await super().perform_seek()
        if self.app.resolve_start_offsets is not None:
            self._unresolved = {tp: self._read_offset[tp] for tp in self.assignment()}

    async def _resolve_start_offsets(self) -> bool:
        """Seeks to the offsets that the app chooses; False if they cannot be chosen yet."""
        wanted, generation = dict(self._unresolved), self.app.consumer_generation_id
        if not self.flow_active or any(self.uncommitted_records(tp) for tp in wanted):
            await asyncio.sleep(_RESOLVE_RETRY_S)
            return False
        try:
            begins, ends = await self.earliest_offsets(*wanted), await self.highwaters(*wanted)
            logs = await self.log_identities({tp.topic for tp in wanted})
        except KafkaError as error:
            if not self._resolve_failed:
                log.warning("no offsets of partitions from Kafka: error=%s; the worker keeps asking",
                            type(error).__name__)  # fmt: skip
            self._resolve_failed = True
            await asyncio.sleep(_RESOLVE_RETRY_S)
            return False
        self._resolve_failed = False
        bounds = {
            tp: PartitionBounds(read, begins[tp], ends[tp], logs.get(tp.topic, "")) for tp, read in wanted.items()
        }
        starts = await self.app.resolve_start_offsets(bounds)
        if starts is None or generation != self.app.consumer_generation_id:
            await asyncio.sleep(_RESOLVE_RETRY_S)
            return False
        await self.seek_wait(starts)
        for tp, offset in starts.items():
            self._trackers[tp] = CommitTracker()
            self._trackers[tp].note_position(offset)
            if offset != wanted[tp]:
                self._committed_offset[tp] = None
                self._mark_for_commit(tp)
            self._unresolved.pop(tp, None)
        return True

    async def log_identities(self, topics: Collection[str]) -> dict[str, str]:
        """Returns the identity of each topic's log; raises what the client raises."""
        consumer = self._thread._ensure_consumer()  # noqa: SLF001
        return dict(await self._thread.call_thread(log_identities, consumer._client, sorted(topics)))  # noqa: SLF001

    async def offset_at(self, tp: Any, timestamp_ms: int) -> int | None:
        """Returns the first offset at or after a time, of an assigned partition or any other; None if there is none."""
        consumer = self._thread._ensure_consumer()  # noqa: SLF001

        async def asked() -> Any:
            return await asyncio.wait_for(consumer.offsets_for_times({tp: timestamp_ms}), _ANSWER_S)

        found = (await self._thread.call_thread(asked)).get(tp)
        return None if found is None or found.offset < 0 else int(found.offset)

    def _new_consumer_thread(self) -> Any:
        return _StrictThread(self, loop=self.loop, beacon=self.beacon)

    async def _has_room(self) -> bool:
        """Waits while too much is uncommitted; False when the caller should check whether to stop."""
        uncommitted = [tracker.uncommitted for tracker in self._trackers.values()]
        records, size_bytes = sum(u[0] for u in uncommitted), sum(u[1] for u in uncommitted)
        if records < self.app.max_uncommitted_records and size_bytes < self.app.max_uncommitted_bytes:
            return True
        self._room.clear()
        try:
            await asyncio.wait_for(self._room.wait(), _LOOK_S)
        except TimeoutError:
            if self.app.is_waiting():
                await self._thread.call_thread(self._look)
        return False

    async def _look(self) -> None:
        with self._thread._ensure_consumer()._fetcher._subscriptions.fetch_context():  # noqa: SLF001
            pass

    async def _seek_back(self) -> None:
        try:
            await self.perform_seek()
        except Exception as error:
            log.warning("seek to the committed offsets failed: error=%s", type(error).__name__)

    def _chunk(self, tp: Any, records: Sequence[Any]) -> Any:
        chunk = self._to_message(tp, records[-1])
        chunk.key = chunk.value = b""
        chunk.headers = None
        chunk.records = records
        return chunk

    def _new_offset(self, tp: Any) -> int | None:
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        tracker = self._trackers[tp]
        tracker.advance()
        # Not only a new offset: one whose commit failed is still due.
        return tracker.committable

    async def _commit_offsets(self, offsets: dict[Any, int], start_new_transaction: bool = True) -> bool:
        assigned = {tp: offset for tp, offset in offsets.items() if tp in self.assignment()}
        if not assigned:
            return False
        try:
            await self._thread.call_thread(self._commit_in_thread, assigned)
        except (errors.KafkaError, TimeoutError) as error:
            refused = not isinstance(error, _TEMPORARY) and not error.retriable
            self.commit_health.failed(type(error).__name__, refused=refused, now=time.monotonic())
            return False
        self.commit_health.succeeded()
        self._committed_offset.update(assigned)
        return True

    async def _commit_in_thread(self, committed: dict[Any, int]) -> None:
        # Faust reads this to warn about missing commits.
        self._thread.tp_last_committed_at.update(dict.fromkeys(committed, time.monotonic()))
        offsets = {TopicPartition(tp.topic, tp.partition): OffsetAndMetadata(at, "") for tp, at in committed.items()}
        await asyncio.wait_for(self._thread._ensure_consumer().commit(offsets), _COMMIT_S)  # noqa: SLF001

    async def _add_gap(self, tp: Any, offset_from: int, offset_to: int) -> None:
        """Ignores gaps (compaction, transaction markers): only delivered offsets count."""

    async def on_partitions_revoked(self, revoked: set[Any]) -> None:
        try:
            await self.commit()
        except Exception:
            log.warning("commit before a rebalance failed; the records are delivered again")
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[Any], generation_id: int = 0) -> None:
        self._trackers.clear()
        self._room.set()
        await super().on_partitions_assigned(assigned, generation_id)


class _StrictThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Reads committed records only; stock Faust does so only if it writes in transactions itself."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"  # noqa: SLF001
        return consumer


class _StrictTransport(driver.Transport):  # type: ignore[misc]
    Consumer = StrictConsumer


class StrictApp(faust.App):  # type: ignore[misc]
    """A Faust app whose consumers commit strictly."""

    #: The largest number of records in a chunk.
    chunk_records: int = 128
    #: How much may be read ahead of the durable records; one more fetch may be under way.
    max_uncommitted_records: int = 2048
    max_uncommitted_bytes: int = 64_000_000

    #: Returns the offset from which each partition is read; None means that it must be asked again. Without it, a
    #: partition is read from the committed offset, or else from the first record.
    resolve_start_offsets: Callable[[dict[Any, PartitionBounds]], Awaitable[dict[Any, int] | None]] | None = None

    #: Whether the worker waits for another service, as opposed to being slow or stuck.
    is_waiting: Callable[[], bool] = staticmethod(lambda: False)

    async def _on_agent_error(self, agent: Any, exc: BaseException) -> None:
        """Ends the app on an error in Faust's part of an agent: a restarted agent would miss what it had taken."""
        await self.crash(exc)

    def _new_transport(self) -> Any:
        return _StrictTransport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> Any:
        return _StrictTransport(self.conf.broker_producer, self)
