"""The agent: windows of whole chunks in order, and streams that ack by themselves are not used."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from types import SimpleNamespace

import aiokafka
import pytest
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

import pipeline
from pipeline.kafka.app import make_app
from pipeline.kafka.micro_batcher import MicroBatcher
from pipeline.kafka.partitions import end_offset
from pipeline.settings import KafkaSettings


@given(st.lists(st.integers(1, 12), min_size=1, max_size=60), st.integers(1, 20))
def test_a_window_takes_each_chunk_once_in_order_and_no_more_records_than_it_may(sizes: list[int], most: int) -> None:
    async def scenario() -> list[list[tuple[int, int]]]:
        window: MicroBatcher[tuple[int, int]] = MicroBatcher(most, 0.001)
        batches: list[list[tuple[int, int]]] = []
        for number, size in enumerate(sizes):
            window.add((number, size), size)
        while sum(map(len, batches)) < len(sizes):
            batches.append(await window.take(lambda: False))
        return batches

    batches = asyncio.run(scenario())
    assert [chunk for batch in batches for chunk in batch] == list(enumerate(sizes))
    assert all(len(batch) == 1 or sum(size for _, size in batch) <= most for batch in batches)


def test_a_lone_chunk_waits_for_company_only_while_the_worker_is_busy() -> None:
    async def scenario(*, busy: bool) -> list[str]:
        window: MicroBatcher[str] = MicroBatcher(10, 5.0)
        window.add("one", 1)
        waiting = asyncio.create_task(window.take(lambda: busy))
        await asyncio.sleep(0.01)
        window.add("two", 9)
        return await asyncio.wait_for(waiting, 1)

    assert asyncio.run(scenario(busy=False)) == ["one"]
    assert asyncio.run(scenario(busy=True)) == ["one", "two"]


def test_a_window_closes_when_its_first_chunk_is_old_enough() -> None:
    async def scenario() -> list[str]:
        window: MicroBatcher[str] = MicroBatcher(10, 0.01)
        window.add("one", 1)
        return await asyncio.wait_for(window.take(lambda: True), 1)

    assert asyncio.run(scenario()) == ["one"]


def test_a_window_is_held_open_while_there_is_time_to_spare_and_full_ones_are_not() -> None:
    async def scenario() -> None:
        spare = 5.0
        window: MicroBatcher[str] = MicroBatcher(10, 0.01)
        window.add("one", 1)
        waiting = asyncio.create_task(window.take(lambda: True, lambda: spare))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        window.add("two", 2)
        spare = 0.0
        assert await asyncio.wait_for(waiting, 1) == ["one", "two"]
        window.add("three", 10)
        assert await asyncio.wait_for(window.take(lambda: True, lambda: 5.0), 1) == ["three"]

    asyncio.run(scenario())


def test_no_agent_uses_a_stream_that_acks_by_itself() -> None:
    """`take`, `take_events` and a bare loop over values lose posts: 1 to 8 of 12 in the measured runs."""
    for file in Path(pipeline.__file__).parent.rglob("*.py"):
        assert not re.search(
            r"\.(noack_)?take(_events)?\([^)]*within|async for \w+ in stream\b(?!\.)", file.read_text()
        ), file


def test_a_named_worker_is_a_static_member_of_its_group() -> None:
    named = make_app("classify", KafkaSettings(instance="host-1"), "localhost:9092")
    assert named.conf.consumer_group_instance_id == "host-1-classify"
    plain = make_app("classify", KafkaSettings(), "localhost:9092")
    assert plain.conf.consumer_group_instance_id is None


def test_the_end_of_a_partition_that_a_rebalance_took_is_not_known() -> None:
    """Found by row 9 of the fault table: a batch ended just after its partition had gone, and the worker with it."""

    async def scenario() -> None:
        consumer = aiokafka.AIOKafkaConsumer.__new__(aiokafka.AIOKafkaConsumer)
        consumer._subscription = SubscriptionState()
        consumer._closed = True
        with pytest.raises(AssertionError, match="not assigned"):
            consumer.highwater(TopicPartition("t", 0))
        assert end_offset(SimpleNamespace(consumer=consumer), "t", 0) is None  # type: ignore[arg-type]

    asyncio.run(scenario())
