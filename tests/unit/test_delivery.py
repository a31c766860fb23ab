"""Strict offsets: the commit never passes a record that was not acked."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import faust
from faust.transport.consumer import Consumer
from hypothesis import given
from hypothesis import strategies as st

import pipeline
from pipeline.delivery import Prefix, StrictConsumer, make_app
from pipeline.settings import KafkaSettings


@given(st.lists(st.integers(1, 3), min_size=1, max_size=40), st.data())
def test_the_commit_is_the_contiguous_acked_prefix(gaps: list[int], data: st.DataObject) -> None:
    offsets = [sum(gaps[: i + 1]) for i in range(len(gaps))]
    prefix, acked, committed = Prefix(), set[int](), 0
    for offset in offsets:
        prefix.deliver(offset)
    for offset in data.draw(st.permutations(offsets)):
        prefix.ack([offset])
        acked.add(offset)
        new = prefix.advance()
        if new is not None:
            assert new > committed
            committed = new
        expected = next((o for o in offsets if o not in acked), None)
        assert all(o in acked for o in offsets if o < committed)
        assert expected is None or committed <= expected
    assert committed == offsets[-1] + 1


@given(st.sets(st.integers(0, 30), max_size=31))
def test_a_nack_pins_the_commit(acked: set[int]) -> None:
    prefix = Prefix()
    for offset in range(31):
        prefix.deliver(offset)
    prefix.ack(acked)
    first_missing = next((o for o in range(31) if o not in acked), 31)
    assert (prefix.advance() or 0) == first_missing


def test_a_seek_back_starts_the_later_offsets_anew() -> None:
    prefix = Prefix()
    for offset in (1, 2, 3):
        prefix.deliver(offset)
    prefix.ack([2, 3])
    prefix.deliver(2)
    prefix.ack([1])
    assert prefix.advance() == 2
    prefix.ack([2])
    assert prefix.advance() == 3


def test_faust_still_has_what_is_overridden() -> None:
    """Fails when an upgrade moves a private method that the strict consumer replaces or calls."""
    assert faust.__version__ == "0.15.3"
    for name in ("_new_offset", "_add_gap", "on_partitions_revoked", "on_partitions_assigned", "commit"):
        theirs = inspect.signature(getattr(Consumer, name)).parameters
        ours = inspect.signature(getattr(StrictConsumer, name)).parameters
        assert len(theirs) == len(ours), name
    source = inspect.getsource(Consumer)
    for expression in ("self._acked[tp]", "self._acked_index[tp]", "self._new_offset(tp)"):
        assert expression in source, expression


def test_no_agent_uses_a_stream_that_acks_by_itself() -> None:
    """`take`, `take_events` and a bare loop over values lose posts: 1 to 8 of 12 in the measured runs."""
    for file in Path(pipeline.__file__).parent.rglob("*.py"):
        assert not re.search(r"\.take(_events)?\(|async for \w+ in stream\b(?!\.)", file.read_text()), file


def test_a_named_worker_is_a_static_member_of_its_group() -> None:
    named = make_app("classify", KafkaSettings(instance="host-1"), "localhost:9092")
    assert named.conf.consumer_group_instance_id == "host-1-classify"
    plain = make_app("classify", KafkaSettings(), "localhost:9092")
    assert plain.conf.consumer_group_instance_id is None
