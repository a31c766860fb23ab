"""Record batches: every codec, the same records as aiokafka reads, in memory that does not follow what is unpacked."""

from __future__ import annotations

import hashlib
import inspect
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import aiokafka
import pytest
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from pipeline.classify.stage import decode_or_poison
from pipeline.domain.errors import Fatal, Poison
from pipeline.domain.post import Origin, Record
from pipeline.kafka import batches, decompression
from pipeline.kafka.batches import Batches, OmittedValue, _Fetched

TP = TopicPartition("t", 0)
CODECS = [0, 1, 2, 3, 4]
Rows = list[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]]

rows_of = st.lists(
    st.tuples(
        st.none() | st.binary(max_size=40),
        st.none() | st.binary(max_size=4000),
        st.lists(st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=20)), max_size=3),
    ),
    min_size=1,
    max_size=30,
)


def batch(rows: Rows, codec: int, first: int = 0) -> bytes:
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 30)
    for i, (key, value, headers) in enumerate(rows):
        builder.append(i, 1000 + i, key, value, headers)
    raw = bytearray(builder.build())
    raw[:8] = struct.pack(">q", first)
    return bytes(raw)


def read(found: Any) -> list[tuple[Any, ...]]:
    return [(r.offset, r.timestamp, r.key, r.value, list(r.headers)) for r in found]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("piece", [1, 700, 4_000_000])
def test_records_are_those_that_aiokafka_reads(monkeypatch: pytest.MonkeyPatch, codec: int, piece: int) -> None:
    monkeypatch.setattr(batches, "PIECE_BYTES", piece)
    monkeypatch.setattr(decompression, "CHUNK_BYTES", 97)

    @given(rows_of, st.integers(0, 1 << 40))
    def check(rows: Rows, first: int) -> None:
        raw = batch(rows, codec, first)
        found = Batches(raw + raw)
        for _ in range(2):
            one = found.next_batch()
            assert one.validate_crc()
            assert one.next_offset == first + len(rows)
            assert read(one) == read(DefaultRecordBatch(raw))
        assert not found.has_next()

    check()


@given(rows_of, st.sampled_from(CODECS), st.data())
def test_what_is_cut_off_is_left_for_the_next_fetch(rows: Rows, codec: int, data: st.DataObject) -> None:
    raw = batch(rows, codec)
    cut = data.draw(st.integers(0, len(raw) - 1))
    found = Batches(raw + raw[:cut])
    assert found.size_in_bytes() == len(raw) + cut
    assert read(found.next_batch()) == read(DefaultRecordBatch(raw))
    assert not found.has_next()
    assert found.next_batch() is None


@pytest.mark.parametrize("codec", CODECS[1:])
def test_a_record_too_large_to_be_held_is_delivered_by_its_size_and_hash(
    monkeypatch: pytest.MonkeyPatch, codec: int
) -> None:
    monkeypatch.setattr(batches, "PIECE_BYTES", 1000)
    monkeypatch.setattr(batches, "LARGEST_RECORD", 50_000)
    monkeypatch.setattr(decompression, "CHUNK_BYTES", 997)
    large = bytes(range(256)) * 400
    rows: Rows = [
        (b"k", b"small", []),
        (b"key" * 300, large, [("h", b"x" * 500), ("none", None)]),
        (None, b"after", []),
        (b"k" * 60_000, None, []),
        (None, b"last", [("h", None)]),
    ]
    found = list(Batches(batch(rows, codec, 40)).next_batch())
    assert [r.offset for r in found] == [40, 41, 42, 43, 44]
    assert [r.timestamp for r in found] == [1000, 1001, 1002, 1003, 1004]
    assert [r.value for r in found if not isinstance(r.value, OmittedValue)] == [b"small", b"after", b"last"]
    elided = [r.value for r in found if isinstance(r.value, OmittedValue)]
    assert [(v.size, v.sha256) for v in elided] == [
        (len(large), hashlib.sha256(large).hexdigest()),
        (0, hashlib.sha256(b"").hexdigest()),
    ]


@pytest.mark.parametrize("codec", CODECS)
def test_a_header_name_that_is_no_utf8_costs_nothing_but_its_name(codec: int) -> None:
    rows: Rows = [(b"k%d" % i, b"value %d" % i, [("n\u00e9", b"x"), ("none", None)]) for i in range(9)]
    good = bytearray(batch(rows, 0, 5))
    payload = bytes(good[61:]).replace("n\u00e9".encode(), b"\xff\xfen", 1)
    packed: dict[int, Callable[[bytes], bytes]] = {
        0: bytes,
        1: gzip_encode,
        2: snappy_encode,
        3: lz4_encode,
        4: zstd_encode,
    }
    raw = good[:61] + packed[codec](payload)
    raw[8:12], raw[21:23] = struct.pack(">i", len(raw) - 12), struct.pack(">h", codec)
    expected = read(DefaultRecordBatch(bytes(good)))
    expected[0][4][0] = ("\ufffd\ufffdn", b"x")
    assert read(Batches(bytes(raw)).next_batch()) == expected


def bomb(records: int, size: int) -> bytes:
    """A gzip batch of `records` records of `size` zeros each, made without holding them."""
    squeezer = zlib.compressobj(9, wbits=31)
    payload = bytearray()

    def varint(number: int) -> bytes:
        raw, out = number << 1, bytearray()
        while raw >= 0x80:
            out.append(raw & 0x7F | 0x80)
            raw >>= 7
        return bytes([*out, raw])

    zeros = b"\0" * 1_000_000
    for i in range(records):
        head = b"\0" + varint(0) + varint(i) + b"\x01" + varint(size)
        payload += squeezer.compress(varint(len(head) + size + 1) + head)
        for _ in range(size // len(zeros)):
            payload += squeezer.compress(zeros)
        payload += squeezer.compress(b"\0")
    payload += squeezer.flush()
    header = struct.Struct(">qiibIhiqqqhii")
    length = header.size - 12 + len(payload)
    return header.pack(0, length, 0, 2, 0, 1, records - 1, 0, 0, -1, -1, -1, records) + bytes(payload)


@pytest.mark.parametrize(("records", "size"), [(40, 9_000_000), (1, 400_000_000)])
def test_a_batch_of_zeros_is_read_in_bounded_memory(records: int, size: int) -> None:
    raw = bomb(records, size)
    assert len(raw) < 500_000
    result = fetched(raw)
    tracemalloc.start()
    sizes = []
    while result.has_more():
        sizes += [r.value.size if isinstance(r.value, OmittedValue) else len(r.value) for r in result.getall(512)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sizes == [size] * records
    assert peak < 60_000_000


class Assignment:
    """As the subscription keeps it: one partition, and where it stands."""

    active = True

    def __init__(self) -> None:
        self.paused, self.position = False, 0

    def state_value(self, _: Any) -> Any:
        return self

    def consumed_to(self, offset: int) -> None:
        self.position = offset


def fetched(raw: bytes) -> Any:
    records = fetcher.PartitionRecords(TP, Batches(raw), None, 0, None, None, False, fetcher.READ_UNCOMMITTED)
    return _Fetched(TP, assignment=Assignment(), partition_records=records, backoff=0)


def test_a_look_brings_a_few_megabytes_or_one_record_and_the_next_goes_on() -> None:
    rows: Rows = [(None, b"x" * 1_500_000, [])] * 8
    result = fetched(batch(rows, 0))
    counts = []
    while result.has_more():
        counts.append(len(result.getall(512)))
    assert counts == [3, 3, 2]
    assert result._assignment.position == 8
    small = fetched(batch([(None, b"x", [])] * 10, 1))
    assert [len(small.getall(4)) for _ in range(3)] == [4, 4, 2]


@pytest.mark.parametrize("codec", CODECS[1:])
def test_a_damaged_batch_ends_the_worker_with_its_place_and_the_remedy(codec: int) -> None:
    raw = bytearray(batch([(None, b"value %d" % i * 50, []) for i in range(200)], codec, 7))
    damages: list[Callable[[bytearray], bytes]] = [
        lambda b: bytes(b[:-40]) if codec != 2 else bytes(b[:61] + b"\xff" * 40 + b[101:]),
        lambda b: bytes(b[:61] + b"\xff\xff\xff\xff\x7f" + b[66:]),
    ]
    for damage in damages:
        broken = bytearray(damage(raw))
        broken[8:12] = struct.pack(">i", len(broken) - 12)
        with pytest.raises(Fatal, match=r"t/0, offset") as caught:
            fetched(bytes(broken)).getall(512)
        assert caught.value.exit_code == 69
        assert caught.value.remedy


@given(st.binary(max_size=300), st.sampled_from(CODECS[1:]))
def test_whatever_is_in_a_batch_is_read_or_named(payload: bytes, codec: int) -> None:
    header = struct.Struct(">qiibIhiqqqhii")
    raw = header.pack(0, header.size - 12 + len(payload), 0, 2, 0, codec, 2, 0, 0, -1, -1, -1, 3) + payload
    try:
        fetched(raw).getall(512)
    except Fatal as error:
        assert "t/0, offset 0" in str(error)


def test_a_codec_that_nothing_reads_is_named_with_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = batch([(None, b"x" * 100, [])], 4)
    monkeypatch.setattr(decompression, "find_spec", lambda name: None if name == "zstandard" else object())
    assert decompression.missing_codecs() == {"zstd": "zstandard"}
    with pytest.raises(Fatal, match="zstd, which needs the package zstandard"):
        fetched(raw).getall(512)
    unknown = bytearray(raw)
    unknown[21:23] = struct.pack(">h", 6)
    with pytest.raises(Fatal, match="compression 6"):
        fetched(bytes(unknown)).getall(512)


def test_aiokafka_still_has_what_is_replaced() -> None:
    assert aiokafka.__version__.startswith("0.14"), "read consumer/fetcher.py again"
    source = inspect.getsource(fetcher)
    for expression in (
        "records = MemoryRecords(part_data[-1])", "records.has_next()", "records.size_in_bytes()",
        "records.next_batch()",
        "type(res_or_error) is FetchResult", "res_or_error.getall(max_records)", "= FetchResult(",
        "next_batch.validate_crc()", "for record in next_batch",
    ):  # fmt: skip
        assert expression in source, expression


def test_a_poison_keeps_no_record_in_memory() -> None:
    """Its traceback would: the records of a bomb stayed until the garbage collector came."""
    found = decode_or_poison(Record(Origin("t", 0, 0), 0, b"\0" * 100))
    assert isinstance(found, Poison)
    assert found.__traceback__ is None
    assert found.__context__ is None
