"""Whatever a server answers, reading it ends, with topics or with an error that is expected."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from pipeline.kafka.wire import Topics, read_topics


def string(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


def test_brokers_and_the_state_of_topics_are_read() -> None:
    brokers = struct.pack(">ii", 1, 7) + string("kafka-1") + struct.pack(">i", 9092) + struct.pack(">h", -1)
    led = struct.pack(">hiii", 0, 0, 7, 1) + struct.pack(">iii", 7, 1, 7)
    bare = struct.pack(">hiii", 5, 0, -1, 0) + struct.pack(">i", 0)
    topics = b"".join(
        struct.pack(">h", code) + string(name) + b"\x00" + struct.pack(">i", len(parts)) + b"".join(parts)
        for code, name, parts in ((0, "a", [led]), (3, "b", []), (29, "c", []), (5, "d", [led, bare]))
    )
    answer = struct.pack(">i", 0) + brokers + string("id") + struct.pack(">ii", 7, 4) + topics
    assert read_topics(answer) == Topics((("kafka-1", 9092),), ("b",), ("c",), ("d",))


@given(st.binary(max_size=300))
def test_any_bytes_are_topics_or_a_value_error(data: bytes) -> None:
    try:
        assert isinstance(read_topics(data), Topics)
    except ValueError:
        pass
