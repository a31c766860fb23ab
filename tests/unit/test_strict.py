"""Strict offsets: the commit never passes a record that is not settled, whatever Faust acks by itself."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from aiokafka import AIOKafkaConsumer, errors
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError
from aiokafka.structs import TopicPartition
from faust.streams import Stream
from faust.transport.consumer import Consumer
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.errors import Fatal
from pipeline.kafka.app import make_app
from pipeline.kafka.commit_health import CommitHealth
from pipeline.kafka.commit_tracker import CommitTracker
from pipeline.kafka.start_offset import PartitionBounds
from pipeline.kafka.strict import StrictConsumer
from pipeline.settings import KafkaSettings

TP = TopicPartition("t", 0)


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4)), min_size=1, max_size=40), st.data())
def test_the_commit_is_the_contiguous_settled_prefix(steps: list[tuple[int, int]], data: st.DataObject) -> None:
    """Chunks of several records, with gaps between them."""
    tracker, chunks, at = CommitTracker(), [], 0
    for gap, size in steps:
        chunks.append(tracker.deliver(at + gap, at + gap + size - 1, size, 10 * size))
        at += gap + size
    committed = 0
    for number in data.draw(st.permutations(range(len(chunks)))):
        chunks[number].durable = True
        new = tracker.advance()
        assert new is None or new > committed
        committed = new or committed
        open_ = [p for p in chunks if not p.durable]
        assert committed <= (open_[0].first if open_ else at)
        assert tracker.uncommitted == (sum(p.records for p in open_), sum(p.size_bytes for p in open_))
    assert committed == chunks[-1].last + 1


@given(st.sets(st.integers(0, 30), max_size=31))
def test_what_is_not_settled_pins_the_commit(settled: set[int]) -> None:
    tracker = CommitTracker()
    for offset in range(31):
        tracker.deliver(offset, offset, 1, 1).durable = offset in settled
    first_missing = next((o for o in range(31) if o not in settled), 31)
    assert (tracker.advance() or 0) == first_missing


def test_a_seek_back_starts_the_later_offsets_anew() -> None:
    tracker = CommitTracker()
    one, old = tracker.deliver(1, 2, 2, 2), tracker.deliver(3, 5, 3, 3)
    again = tracker.deliver(2, 5, 4, 4)
    one.durable = old.durable = True
    assert tracker.advance() is None, "both were delivered anew"
    again.durable = True
    assert tracker.advance() == 6


def record(offset: int, size: int = 1) -> Any:
    return SimpleNamespace(
        topic="t", partition=0, offset=offset, timestamp=1000, timestamp_type=0, headers=(), key=None,
        value=b"x" * size, checksum=None, serialized_key_size=0, serialized_value_size=size,
    )  # fmt: skip


class Rig:
    """A consumer with a fetcher that holds `fetched`; what is delivered is kept."""

    def __init__(self, fetched: Sequence[Any], waits: Callable[[], bool] = lambda: False) -> None:
        self.app = make_app("classify", KafkaSettings(), "localhost:9092")
        self.app.chunk_records, self.app.max_uncommitted_records, self.app.max_uncommitted_bytes = 3, 6, 1000
        self.app.is_waiting = waits
        self.app.topics._acking_topics.add("t")
        self.delivered: list[Any] = []
        self.looks = 0

        async def callback(chunk: Any) -> None:
            self.delivered.append(chunk)

        self.consumer = StrictConsumer(
            self.app.transport,
            callback,
            on_partitions_revoked=callback,
            on_partitions_assigned=callback,
            loop=asyncio.get_running_loop(),
        )
        self.consumer._active_partitions = {TP}
        fetched = list(fetched)

        async def next_records(_timeout: float) -> Any:
            found, fetched[:] = fetched[:4], fetched[4:]
            return {TP: found} if found else {}, {TP}

        async def call_thread(_function: Any) -> None:
            self.looks += 1

        self.consumer._wait_next_records = next_records
        self.consumer._thread = SimpleNamespace(call_thread=call_thread)
        self.positions: dict[Any, int] = {}
        self.consumer._positions = lambda: self.positions  # type: ignore[method-assign]

    async def fetch(self) -> None:
        async for _, chunk in self.consumer.getmany(1.0):
            await self.consumer.callback(chunk)


def test_records_come_in_chunks_and_no_further_than_may_be_held() -> None:
    async def scenario() -> None:
        rig = Rig([record(i) for i in range(20)])
        for _ in range(3):
            await rig.fetch()
        assert [[r.offset for r in c.records] for c in rig.delivered] == [[0, 1, 2], [3], [4, 5, 6], [7]]
        rig.consumer.mark_durable(rig.delivered[0])
        await rig.fetch()
        assert rig.delivered[-1].offset == 11
        assert rig.consumer._new_offset(TP) == 3

    asyncio.run(scenario())


def test_bytes_are_held_within_bounds_too() -> None:
    async def scenario() -> None:
        rig = Rig([record(i, size=400) for i in range(20)])
        for _ in range(3):
            await rig.fetch()
        assert rig.delivered[-1].offset == 3, "four of them are over 1,000 bytes"

    asyncio.run(scenario())


def test_while_the_worker_waits_for_a_service_it_stays_in_its_group_and_while_it_is_slow_it_does_not() -> None:
    async def scenario(waits: bool) -> int:
        rig = Rig([record(i) for i in range(20)], lambda: waits)
        for _ in range(3):
            await rig.fetch()
        return rig.looks

    assert asyncio.run(scenario(True)) == 1
    assert asyncio.run(scenario(False)) == 0


def test_what_faust_acks_by_itself_is_not_committed() -> None:
    """Its stream acks what it skips during a rebalance, and the commit before the revocation would take that over."""

    async def scenario() -> None:
        rig = Rig([record(i) for i in range(4)])
        await rig.fetch()
        for chunk in rig.delivered:
            rig.consumer.ack(chunk)
        assert rig.consumer._acked[TP], "Faust noted the acks"
        assert rig.consumer._new_offset(TP) is None
        rig.consumer.mark_durable(rig.delivered[0])
        assert rig.consumer._new_offset(TP) == 3

    asyncio.run(scenario())


def test_what_was_delivered_before_a_rebalance_changes_nothing_after_it() -> None:
    async def scenario() -> None:
        rig = Rig([record(i) for i in (0, 1, 0, 1)])
        async for _, chunk in rig.consumer.getmany(1.0):
            await rig.consumer.callback(chunk)
        before = rig.delivered[0]
        rig.consumer._trackers.clear()
        again = rig.consumer._chunk(TP, [record(0), record(1)])
        await rig.consumer.callback(again)
        rig.consumer.mark_durable(before)
        assert rig.consumer._new_offset(TP) is None
        rig.consumer.mark_durable(again)
        assert rig.consumer._new_offset(TP) == 2

    asyncio.run(scenario())


COMMIT_ERRORS = [
    errors.CommitFailedError("x"), errors.KafkaTimeoutError(), errors.GroupCoordinatorNotAvailableError(),
    errors.UnknownMemberIdError(), errors.GroupAuthorizationFailedError(), errors.KafkaConnectionError(),
    errors.IllegalStateError(), errors.UnknownTopicOrPartitionError(), TimeoutError(),
]  # fmt: skip


@pytest.mark.parametrize("error", COMMIT_ERRORS, ids=lambda error: type(error).__name__)
def test_a_commit_that_fails_is_made_again_without_a_further_record(error: Exception) -> None:
    async def scenario() -> None:
        rig = Rig([record(i) for i in range(4)])
        await rig.fetch()
        committed: list[dict[Any, int]] = []
        failures = [error, error]

        async def call_thread(_function: Any, offsets: dict[Any, int]) -> None:
            if failures:
                raise failures.pop()
            committed.append(offsets)

        rig.consumer._thread = SimpleNamespace(call_thread=call_thread, assignment=lambda: {TP})
        rig.consumer.mark_durable(rig.delivered[0])
        for expected in (False, False, True):
            assert await rig.consumer.force_commit() is expected
        assert committed == [{TP: 3}]
        assert not await rig.consumer.force_commit(), "nothing is due"
        rig.consumer.mark_durable(rig.delivered[1])
        assert await rig.consumer.force_commit()
        assert committed[1:] == [{TP: 4}]

    asyncio.run(scenario())


def test_a_bug_in_a_commit_is_not_taken_for_a_failure_of_kafka() -> None:
    async def scenario() -> None:
        rig = Rig([record(i) for i in range(3)])
        await rig.fetch()

        async def call_thread(*_: Any) -> None:
            raise TypeError

        rig.consumer._thread = SimpleNamespace(call_thread=call_thread, assignment=lambda: {TP})
        rig.consumer.mark_durable(rig.delivered[0])
        with pytest.raises(TypeError):
            await rig.consumer.force_commit()

    asyncio.run(scenario())


def test_nothing_is_committed_for_a_partition_that_moved_away() -> None:
    async def scenario() -> None:
        rig = Rig([record(i) for i in range(3)])
        await rig.fetch()
        rig.consumer._thread = SimpleNamespace(assignment=set)
        rig.consumer.mark_durable(rig.delivered[0])
        assert not await rig.consumer.force_commit()

    asyncio.run(scenario())


def test_a_refusal_ends_the_process_after_a_while_and_a_passing_failure_never() -> None:
    commits = CommitHealth()
    for second in range(1000):
        commits.failed("KafkaTimeoutError", refused=False, now=float(second))
    assert commits.overdue(1000.0) == "offsets cannot be committed for 1000 s: KafkaTimeoutError"
    commits.succeeded()
    assert commits.overdue(2000.0) is None
    for now in (2000.0, 2010.0, 2029.0):
        commits.failed("GroupAuthorizationFailedError", refused=True, now=now)
    with pytest.raises(Fatal, match="GroupAuthorizationFailedError") as caught:
        commits.failed("GroupAuthorizationFailedError", refused=True, now=2030.0)
    assert caught.value.exit_code == 69
    assert "acls.sh" in caught.value.remedy


def test_an_error_in_fausts_part_of_an_agent_crashes_the_app() -> None:
    """Faust would start the agent again, which then never sees what the one before had taken."""

    async def scenario() -> None:
        app = make_app("classify", KafkaSettings(), "localhost:9092")
        error = ValueError("a bug")
        await app._on_agent_error(None, error)
        assert app.crashed
        assert app.crash_reason is error

    asyncio.run(scenario())


def test_faust_still_has_what_is_overridden() -> None:
    """Fails when an upgrade moves a private method that the strict consumer replaces or calls."""
    assert faust.__version__ == "0.15.3"
    for name in ("_new_offset", "_add_gap", "on_partitions_revoked", "on_partitions_assigned", "commit", "getmany",
                 "_commit_offsets"):  # fmt: skip
        theirs = inspect.signature(getattr(Consumer, name)).parameters
        ours = inspect.signature(getattr(StrictConsumer, name)).parameters
        assert len(theirs) == len(ours), name
    source = inspect.getsource(Consumer)
    for expression in (
        "self._new_offset(tp)", "for tp in self._acked", "await self._wait_next_records(timeout)",
        "self._acked_index[tp]", "self._buffered_partitions", "async for tp, message in ait",
        "callback = self.callback",
    ):  # fmt: skip
        assert expression in source, expression
    assert "on_error=self._on_agent_error" in inspect.getsource(faust.App)
    thread = inspect.getsource(AIOKafkaConsumerThread)
    for expression in ("self._ensure_consumer()", "fetcher._subscriptions.fetch_context()", "tp_last_committed_at"):
        assert expression in thread, expression
    assert "value is skipped_value" in inspect.getsource(Stream), "the ack that must not count"


def test_stock_faust_commits_past_a_message_that_was_not_acked() -> None:
    """The reason for this file (docs/upstream); when an upgrade mends it, look whether less needs to be overridden."""

    async def scenario() -> None:
        rig = Rig([])
        rig.consumer._committed_offset[TP] = 5
        rig.consumer._acked[TP] = [6]
        assert Consumer._new_offset(rig.consumer, TP) == 7, "5 was not acked"
        rig.consumer._committed_offset[TP] = None
        rig.consumer._acked[TP] = [4, 5]
        assert Consumer._new_offset(rig.consumer, TP) == 6, "0 to 3 were not acked"

    asyncio.run(scenario())


def test_a_position_past_what_was_delivered_is_committed_when_all_of_it_is_settled() -> None:
    """Markers and aborted records of transactions are never delivered."""
    tracker = CommitTracker()
    tracker.note_position(4)
    assert (tracker.durable_offset, tracker.advance(), tracker.advance()) == (4, 4, None)
    chunk = tracker.deliver(6, 7, 2, 2)
    tracker.note_position(12)
    assert (tracker.durable_offset, tracker.advance()) == (6, None)
    chunk.durable = True
    assert (tracker.durable_offset, tracker.advance(), tracker.advance()) == (12, 12, None)
    tracker.deliver(9, 9, 1, 1)
    assert tracker.durable_offset == 9, "a seek back"
    assert tracker.advance() is None


def test_positions_are_noted_after_what_they_cover_was_delivered() -> None:
    async def scenario() -> None:
        rig = Rig([record(i) for i in range(4)])
        rig.positions = {TP: 4}
        await rig.fetch()
        rig.positions = {TP: 9}
        await rig.fetch()
        assert rig.consumer.durable_offset(TP) == 0
        for chunk in rig.delivered:
            rig.consumer.mark_durable(chunk)
        assert rig.consumer.durable_offset(TP) == 9
        assert rig.consumer._new_offset(TP) == 9

    asyncio.run(scenario())


def test_a_chunk_that_was_not_delivered_is_not_passed() -> None:
    async def scenario() -> None:
        rig = Rig([record(i) for i in range(4)])
        rig.positions = {TP: 4}
        async for _ in rig.consumer.getmany(1.0):
            pass
        assert rig.consumer.durable_offset(TP) is None

    asyncio.run(scenario())


@pytest.mark.parametrize("error", [OffsetOutOfRangeError({TP: 7}), NoOffsetForPartitionError(TP)])
def test_what_is_no_longer_there_is_asked_for_and_never_jumped_over(error: Exception) -> None:
    async def scenario() -> None:
        rig = Rig([])
        asked: list[Any] = []

        async def starts(found: Any) -> Any:
            asked.append(found)
            return {TP: 20}

        async def raising(_timeout: float) -> Any:
            raise error

        async def answer(*_: Any) -> Any:
            return {TP: 20} if _ else None

        async def logs(_: Any) -> dict[str, str]:
            return {"t": "cluster/1f"}

        rig.app.resolve_start_offsets, rig.consumer._wait_next_records = starts, raising
        rig.consumer.earliest_offsets = rig.consumer.highwaters = rig.consumer.seek_wait = answer
        rig.consumer.log_identities = logs  # type: ignore[method-assign, assignment]
        await rig.fetch()
        assert rig.consumer.durable_offset(TP) is None
        await rig.fetch()
        read = 7 if isinstance(error, OffsetOutOfRangeError) else None
        assert asked[0] == {TP: PartitionBounds(read, 20, 20, "cluster/1f")}

    asyncio.run(scenario())


def test_the_client_still_is_as_the_isolation_and_the_positions_need_it() -> None:
    source = inspect.getsource(AIOKafkaConsumer.start)
    assert "isolation_level=self._isolation_level" in source
    assert "call_thread(self._ensure_consumer().seek_to_committed)" in inspect.getsource(AIOKafkaConsumerThread)
    assert "_update_position" in inspect.getsource(FetchResult.getall)
