"""Strict at-least-once offsets on faust-streaming 0.15.3: the one file that overrides its private methods.

What Faust does by itself loses posts (docs/delivery.md has the measured table). Here:
- records reach the stream in chunks, consecutive records of one partition as one message: what Faust does per message
  (about 100 microseconds) it does per chunk;
- the commit is the contiguous prefix of settled chunks, and a chunk is settled only by whoever processed it. Faust
  itself acks what its stream skips during a rebalance: that ack counts for nothing here;
- what is settled is committed before partitions are revoked, and a commit that fails is made again a second later
  (Faust crashes its consumer, and then stands still), or ends the process where Kafka goes on refusing it;
- what no transaction has committed is not read, and the commit passes what is never delivered: the markers and aborted
  records of transactions, what compaction took;
- where a partition is read from is decided by whoever processes the records (`StrictApp.starts`), after each
  rebalance and where Kafka no longer has what is to be read: nothing is ever skipped by a client's default;
- records read ahead of what is durable are bounded, in number and in bytes: then nothing more is fetched. While a
  worker waits for the store or the broker, it stays a member of its group; while it only takes long,
  max.poll.interval fences it as ever.
Faust is pinned, and tests/unit/test_strict.py fails when what is relied on moves.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import faust
from aiokafka import errors
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers import aiokafka as driver

from pipeline.kafka.commits import Commits
from pipeline.kafka.log_identity import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError, log_identities
from pipeline.kafka.resume import Bounds

log = logging.getLogger(__name__)
#: Keeps a worker that waits inside its group (max.poll.interval counts from the last look at the fetcher).
_LOOK_S = 1.0
#: Passing failures of a commit that aiokafka does not call retriable. A group that rebalances gives the partition to
#: another reader, or to this one, from where it stands.
_PASSING = (
    TimeoutError, errors.KafkaTimeoutError, errors.CommitFailedError, errors.IllegalStateError,
    errors.UnknownMemberIdError, errors.IllegalGenerationError, errors.RebalanceInProgressError,
)  # fmt: skip
#: A commit that takes longer is given up and made again: a rebalance and the end of the process wait for it.
_COMMIT_S = 5.0
#: Between two tries to find out where a partition is to be read from.
_PLACE_S = 0.5
#: The client itself would wait for a topic that is not there.
_ANSWER_S = 10.0


@dataclass(slots=True)
class ChunkState:
    """Where a chunk stood: offsets `first..last` of one partition; `settled` when all its records are durable."""

    first: int
    last: int
    records: int
    size_bytes: int
    settled: bool = False


class CommitTracker:
    """The delivered chunks of one partition, in order, and how far they are settled. Pure.

    >>> p = CommitTracker()
    >>> one, two = p.deliver(5, 6, 2, 90), p.deliver(9, 9, 1, 40)
    >>> p.held
    (3, 130)
    >>> two.settled = True; p.advance()
    >>> one.settled = True; p.advance()
    10
    """

    def __init__(self) -> None:
        self._pending: deque[ChunkState] = deque()
        self._position: int | None = None
        #: The next offset to read, as far as `advance` has come; None before it came anywhere.
        self.reached: int | None = None

    def deliver(self, first: int, last: int, records: int, size_bytes: int) -> ChunkState:
        """Offsets come ascending; a lower one means a seek back: what was delivered from there on starts anew."""
        while self._pending and self._pending[-1].last >= first:
            self._pending.pop()
        if self._position is not None and first < self._position:
            self._position, self.reached = first, None
        place = ChunkState(first, last, records, size_bytes)
        self._pending.append(place)
        return place

    def passed(self, position: int) -> None:
        """Everything below `position` was delivered, or never will be."""
        self._position = position

    @property
    def durable(self) -> int | None:
        """The first offset that is not known to be durable; None before the position is known."""
        return next((place.first for place in self._pending if not place.settled), self._position)

    def advance(self) -> int | None:
        """Takes the settled prefix out and returns the next offset to read, None where nothing is new."""
        reached = None
        while self._pending and self._pending[0].settled:
            reached = self._pending.popleft().last + 1
        if not self._pending and self._position is not None and self._position > (self.reached or -1):
            reached = max(reached or 0, self._position)
        if reached is not None:
            self.reached = max(self.reached or 0, reached)
        return reached

    @property
    def held(self) -> tuple[int, int]:
        """Records, and their bytes, that are delivered and not settled."""
        open_ = [place for place in self._pending if not place.settled]
        return sum(place.records for place in open_), sum(place.size_bytes for place in open_)


class StrictConsumer(driver.Consumer):  # type: ignore[misc]
    """Faust's consumer with its fetching and its offset bookkeeping replaced."""

    def __init__(self, transport: Any, callback: Callable[[Any], Awaitable[None]], *args: Any, **kwargs: Any) -> None:
        self._prefixes: dict[Any, CommitTracker] = defaultdict(CommitTracker)
        self._room = asyncio.Event()
        self.commits = Commits()
        #: Partitions that are not read before it is decided from where: the offset read up to, None for nothing.
        self._unplaced: dict[Any, int | None] = {}
        self._place_failed = False

        async def tracked(chunk: Any) -> None:
            records = chunk.records
            size_bytes = sum(len(r.value or b"") for r in records)
            prefix = self._prefixes[chunk.tp]
            chunk.place = prefix.deliver(records[0].offset, chunk.offset, len(records), size_bytes)
            await callback(chunk)

        super().__init__(transport, tracked, *args, **kwargs)

    def settle(self, chunk: Any) -> None:
        """Every record of the chunk is durable. A chunk of before a rebalance has lost its place: nothing changes."""
        chunk.place.settled = True
        # Faust commits the partitions that it finds here.
        self._acked[chunk.tp]  # noqa: B018
        self._room.set()

    def open_records(self, tp: Any) -> int:
        """Records of a partition that are delivered and not settled."""
        return self._prefixes[tp].held[0] if tp in self._prefixes else 0

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[Any, Any]]:
        """Chunks of what the fetcher has, one partition after the other."""
        if (self._unplaced and not await self._place()) or not await self._has_room():
            return
        try:
            records, active = await self._wait_next_records(timeout)
        except (OffsetOutOfRangeError, NoOffsetForPartitionError) as error:
            if self.app.starts is None:
                raise
            found = error.args[0]
            self._unplaced.update(found if isinstance(found, dict) else {found: None})
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
                    if not hasattr(chunk, "place"):  # a rebalance came before it was delivered
                        return
        self._note_positions()

    def _note_positions(self) -> None:
        """Between two fetches a position says how far records were delivered, and what needs no delivery."""
        for tp, position in self._positions().items():
            prefix = self._prefixes[tp]
            prefix.passed(position)
            if prefix.durable != self._committed_offset[tp]:
                self._acked[tp]  # noqa: B018

    def _positions(self) -> dict[Any, int]:
        subscription = self._thread._ensure_consumer()._subscription.subscription  # noqa: SLF001
        if subscription is None or subscription.assignment is None:
            return {}
        states = {tp: subscription.assignment.state_value(tp) for tp in self._get_active_partitions()}
        return {tp: s.position for tp, s in states.items() if s is not None and s.has_valid_position}

    def durable(self, tp: Any) -> int | None:
        """Below it every record is durable, or never comes; None where that is not known."""
        return self._prefixes[tp].durable if tp in self._prefixes and tp not in self._unplaced else None

    def stable_offset(self, tp: Any) -> int | None:
        """The end of what is not part of an open transaction; None where it is not known."""
        found = self._thread._ensure_consumer().last_stable_offset(tp)  # noqa: SLF001
        return None if found is None or found < 0 else int(found)

    async def perform_seek(self) -> None:
        await super().perform_seek()
        if self.app.starts is not None:
            self._unplaced = {tp: self._read_offset[tp] for tp in self.assignment()}

    async def _place(self) -> bool:
        """Seeks where `StrictApp.starts` says; False while that cannot be, or must not be, answered."""
        wanted, generation = dict(self._unplaced), self.app.consumer_generation_id
        if not self.flow_active or any(self._prefixes[tp].held[0] for tp in wanted):
            await asyncio.sleep(_PLACE_S)
            return False
        try:
            begins, ends = await self.earliest_offsets(*wanted), await self.highwaters(*wanted)
            logs = await self.logs({tp.topic for tp in wanted})
        except KafkaError as error:
            if not self._place_failed:
                log.warning(
                    "Kafka did not say where partitions begin and end (goes on asking): %s", type(error).__name__
                )
            self._place_failed = True
            await asyncio.sleep(_PLACE_S)
            return False
        self._place_failed = False
        found = {tp: Bounds(read, begins[tp], ends[tp], logs.get(tp.topic, "")) for tp, read in wanted.items()}
        starts = await self.app.starts(found)
        if starts is None or generation != self.app.consumer_generation_id:
            await asyncio.sleep(_PLACE_S)
            return False
        await self.seek_wait(starts)
        for tp, offset in starts.items():
            self._prefixes[tp] = CommitTracker()
            self._prefixes[tp].passed(offset)
            if offset != wanted[tp]:
                self._committed_offset[tp] = None
                self._acked[tp]  # noqa: B018
            self._unplaced.pop(tp, None)
        return True

    async def logs(self, topics: Collection[str]) -> dict[str, str]:
        """The identity of each topic's log (`logids`); raises what the client raises."""
        consumer = self._thread._ensure_consumer()  # noqa: SLF001
        return dict(await self._thread.call_thread(log_identities, consumer._client, sorted(topics)))  # noqa: SLF001

    async def since(self, tp: Any, timestamp_ms: int) -> int | None:
        """The first offset of any partition, assigned or not, at or after a time; None where there is none."""
        consumer = self._thread._ensure_consumer()  # noqa: SLF001

        async def asked() -> Any:
            return await asyncio.wait_for(consumer.offsets_for_times({tp: timestamp_ms}), _ANSWER_S)

        found = (await self._thread.call_thread(asked)).get(tp)
        return None if found is None or found.offset < 0 else int(found.offset)

    def _new_consumer_thread(self) -> Any:
        return _StrictThread(self, loop=self.loop, beacon=self.beacon)

    async def _has_room(self) -> bool:
        """Waits while too much is held; False when it is time to look whether to stop."""
        held = [prefix.held for prefix in self._prefixes.values()]
        records, size_bytes = sum(h[0] for h in held), sum(h[1] for h in held)
        if records < self.app.held_records and size_bytes < self.app.held_bytes:
            return True
        self._room.clear()
        try:
            await asyncio.wait_for(self._room.wait(), _LOOK_S)
        except TimeoutError:
            if self.app.waits():
                await self._thread.call_thread(self._look)
        return False

    async def _look(self) -> None:
        with self._thread._ensure_consumer()._fetcher._subscriptions.fetch_context():  # noqa: SLF001
            pass

    async def _seek_back(self) -> None:
        try:
            await self.perform_seek()
        except Exception as error:
            log.warning("the seek to the committed offsets failed: %s", type(error).__name__)

    def _chunk(self, tp: Any, records: Sequence[Any]) -> Any:
        chunk = self._to_message(tp, records[-1])
        chunk.key = chunk.value = b""
        chunk.headers = None
        chunk.records = records
        return chunk

    def _new_offset(self, tp: Any) -> int | None:
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        prefix = self._prefixes[tp]
        prefix.advance()
        # Not only what is new: what was not committed for an error is due still.
        return prefix.reached

    async def _commit_offsets(self, offsets: dict[Any, int], start_new_transaction: bool = True) -> bool:
        held = {tp: offset for tp, offset in offsets.items() if tp in self.assignment()}
        if not held:
            return False
        try:
            await self._thread.call_thread(self._commit_in_thread, held)
        except (errors.KafkaError, TimeoutError) as error:
            refused = not isinstance(error, _PASSING) and not error.retriable
            self.commits.failed(type(error).__name__, refused=refused, now=time.monotonic())
            return False
        self.commits.succeeded()
        self._committed_offset.update(held)
        return True

    async def _commit_in_thread(self, held: dict[Any, int]) -> None:
        # Faust's watch for commits that are missing reads it.
        self._thread.tp_last_committed_at.update(dict.fromkeys(held, time.monotonic()))
        offsets = {TopicPartition(tp.topic, tp.partition): OffsetAndMetadata(at, "") for tp, at in held.items()}
        await asyncio.wait_for(self._thread._ensure_consumer().commit(offsets), _COMMIT_S)  # noqa: SLF001

    async def _add_gap(self, tp: Any, offset_from: int, offset_to: int) -> None:
        """Gaps (compaction, transaction markers) need no bookkeeping: only delivered offsets count."""

    async def on_partitions_revoked(self, revoked: set[Any]) -> None:
        try:
            await self.commit()
        except Exception:
            log.warning("commit before a rebalance failed; the records will be delivered again")
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[Any], generation_id: int = 0) -> None:
        self._prefixes.clear()
        self._room.set()
        await super().on_partitions_assigned(assigned, generation_id)


class _StrictThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Faust reads what is not committed unless it writes in transactions itself."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"  # noqa: SLF001
        return consumer


class _StrictTransport(driver.Transport):  # type: ignore[misc]
    Consumer = StrictConsumer


class StrictApp(faust.App):  # type: ignore[misc]
    """A Faust app whose consumers commit strictly."""

    #: Records of a chunk at the most; what may be read ahead of what is durable (one fetch more may be on its way).
    chunk_records: int = 128
    held_records: int = 2048
    held_bytes: int = 64_000_000

    #: From which offset each partition is read, None to be asked again; without it, from where the group had stopped,
    #: or else from the first record.
    starts: Callable[[dict[Any, Bounds]], Awaitable[dict[Any, int] | None]] | None = None

    #: Whether the worker waits for another service, rather than being slow or stuck.
    waits: Callable[[], bool] = staticmethod(lambda: False)

    async def _on_agent_error(self, agent: Any, exc: BaseException) -> None:
        """An error in Faust's part of an agent: started again, it would never see what it had taken."""
        await self.crash(exc)

    def _new_transport(self) -> Any:
        return _StrictTransport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> Any:
        return _StrictTransport(self.conf.broker_producer, self)
