"""Reads Kafka's record batches in bounded memory, unlike aiokafka.

aiokafka decompresses a whole batch at once and returns up to 512 records of any size: 444 KB of a topic took 1.5 GB.
Here a batch is decompressed piece by piece, and one call to the fetcher returns a few megabytes. All records are still
delivered, except that a record larger than `LARGEST_RECORD` is never kept in memory: its value is replaced by its size
and SHA-256, which is all that a dead letter by reference needs.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch

from pipeline.domain.errors import EXIT_UNAVAILABLE, Fatal
from pipeline.kafka.decompression import CodecMissingError, DamagedError, Reader, decompressed, varint

PIECE_BYTES = 4_000_000
#: The key, value and headers of one record together; the dead-letter topic keeps up to 10 MB of that.
LARGEST_RECORD = 32_000_000
#: How much one call to the fetcher returns of a partition; it is always at least one record.
FETCH_BYTES = 4_000_000
_HEADER = struct.Struct(">qiibIhiqqqhii")
_ATTRIBUTES, _COUNT = 5, 12
_CODEC, _LOG_APPEND_TIME = 0x07, 0x08


class OmittedValue(bytes):
    """An empty value in place of one that is too large to keep, which has `size` bytes with this SHA-256 (hex)."""

    size: int
    sha256: str

    @classmethod
    def of(cls, size: int, sha256: str) -> OmittedValue:
        made = cls()
        made.size, made.sha256 = size, sha256
        return made


class _Record(NamedTuple):
    """Has the fields of aiokafka's records."""

    offset: int
    timestamp: int
    timestamp_type: int
    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()
    checksum: None = None


class Batches:
    """The batches of a fetch response, in order; replaces aiokafka's `MemoryRecords`."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = memoryview(data), 0

    def size_in_bytes(self) -> int:
        return len(self._data)

    def has_next(self) -> bool:
        return self._end() is not None

    def next_batch(self) -> Any:
        end = self._end()
        if end is None:
            return None
        raw = bytes(self._data[self._at : end])
        self._at = end
        # No broker since 0.11 writes the older formats.
        return _Batch(raw) if raw[16] >= 2 else LegacyRecordBatch(raw, raw[16])

    def _end(self) -> int | None:
        """Returns where the next batch ends; None if it is incomplete."""
        if len(self._data) - self._at < 17:
            return None
        end = self._at + 12 + int.from_bytes(self._data[self._at + 8 : self._at + 12], "big", signed=True)
        return int(end) if self._at + 17 <= end <= len(self._data) else None


class _Batch:
    """One batch; aiokafka itself reads the uncompressed pieces."""

    def __init__(self, raw: bytes) -> None:
        if len(raw) < _HEADER.size:
            raise DamagedError("a batch is shorter than its header")
        self._raw, self._whole = raw, DefaultRecordBatch(raw)
        self._header = _HEADER.unpack_from(raw)
        self.base_offset: int = self._whole.base_offset
        self.next_offset: int = self._whole.next_offset
        self.producer_id: int = self._whole.producer_id
        self.is_control_batch: bool = self._whole.is_control_batch
        self.is_transactional: bool = self._whole.is_transactional

    def validate_crc(self) -> bool:
        return bool(self._whole.validate_crc())

    def __next__(self) -> Any:
        """Returns the marker of a control batch, which is never compressed."""
        return next(self._whole)

    def __iter__(self) -> Iterator[Any]:
        payload, codec = self._raw[_HEADER.size :], self._header[_ATTRIBUTES] & _CODEC
        if not codec:
            return self._tolerant(self._whole, payload)
        return self._unpacked(Reader(decompressed(codec, payload)))

    def _unpacked(self, reader: Reader) -> Iterator[Any]:
        left = int(self._header[_COUNT])
        if not reader.fill(PIECE_BYTES):
            yield from self._piece(reader.buffer, left)
            return
        while left:
            end, records = _whole_records(reader.buffer, left)
            if records:
                piece = reader.buffer[:end]
                del reader.buffer[:end]
                yield from self._piece(piece, records)
                left -= records
                reader.fill(PIECE_BYTES)
                continue
            reader.fill(10)
            found = varint(reader.buffer, 0)
            if found is None:
                raise DamagedError("a record is truncated")
            if found[0] > LARGEST_RECORD:
                yield self._large(reader)
                left -= 1
            elif not reader.fill(found[1] + found[0]):
                raise DamagedError("a record is truncated")

    def _piece(self, records: bytes | bytearray, count: int) -> Iterator[Any]:
        """Reads some decompressed records of the batch through aiokafka's own reader."""
        header = list(self._header)
        header[1] = _HEADER.size - 12 + len(records)
        header[_ATTRIBUTES] &= ~_CODEC
        header[_COUNT] = count
        return self._tolerant(DefaultRecordBatch(_HEADER.pack(*header) + bytes(records)), records)

    def _tolerant(self, found: Iterator[Any], records: bytes | bytearray) -> Iterator[Any]:
        """Yields the records in `found`, which aiokafka reads; where it rejects a header name, reads them leniently."""
        done = 0
        try:
            for record in found:
                yield record
                done += 1
        except UnicodeDecodeError:
            yield from islice(self._with_odd_names(records), done, None)

    def _with_odd_names(self, records: bytes | bytearray) -> Iterator[_Record]:
        """Reads the same records, with U+FFFD for the bytes of a header name that are not UTF-8."""
        reader = Reader(iter([bytes(records)]))
        while reader.fill(1):
            reader.varint()
            reader.take(1)
            time_delta, offset_delta = reader.varint()[0], reader.varint()[0]
            key, value = reader.text(), reader.text()
            headers = [
                ((reader.text() or b"").decode("utf-8", "replace"), reader.text()) for _ in range(reader.count())
            ]
            yield self._record(time_delta, offset_delta, value, key, headers)

    def _record(self, time_delta: int, offset_delta: int, value: bytes | None, *more: Any) -> _Record:
        appended = bool(self._header[_ATTRIBUTES] & _LOG_APPEND_TIME)
        timestamp = int(self._header[8] if appended else self._header[7] + time_delta)
        return _Record(self.base_offset + offset_delta, timestamp, int(appended), value, *more)

    def _large(self, reader: Reader) -> _Record:
        """Reads past a record and keeps neither its key nor its headers."""
        left, _ = reader.varint()
        reader.take(1)
        left -= 1
        numbers = []
        for _ in range(3):
            number, size = reader.varint()
            numbers.append(number)
            left -= size
        time_delta, offset_delta, key_bytes = numbers
        reader.skip(max(0, key_bytes))
        value_bytes, size = reader.varint()
        value_bytes = max(0, value_bytes)
        left -= size + max(0, key_bytes) + value_bytes
        if left < 0:
            raise DamagedError("a record is longer than its header says")
        digest = hashlib.sha256()
        reader.skip(value_bytes, digest.update)
        reader.skip(left)
        return self._record(time_delta, offset_delta, OmittedValue.of(value_bytes, digest.hexdigest()))


def _whole_records(buffer: bytearray, most: int) -> tuple[int, int]:
    """Returns where the last complete record of the buffer ends, and the number of complete records."""
    at = records = 0
    while records < most:
        found = varint(buffer, at)
        if found is None or found[0] < 0 or found[1] + found[0] > len(buffer):
            break
        at = found[1] + found[0]
        records += 1
    return at, records


class _Fetched(fetcher.FetchResult):  # type: ignore[misc]
    """The fetched records of a partition, which it returns a few megabytes at a time."""

    _partition_records: Any

    def getall(self, max_records: int | None = None) -> list[Any]:
        tp = self._topic_partition
        if not self.check_assignment(tp) or not self.has_more():
            return []
        found: list[Any] = []
        size = 0
        try:
            for record in self._partition_records:
                found.append(record)
                size += len(record.key or b"") + len(record.value or b"")
                if size >= FETCH_BYTES or (max_records is not None and len(found) >= max_records):
                    self._update_position()
                    return found
        except (CodecMissingError, DamagedError, CorruptRecordException) as error:
            raise _unreadable(tp, self._partition_records.next_fetch_offset, error) from error
        self._update_position()
        self._partition_records = None
        return found


def _unreadable(tp: Any, offset: int, error: Exception) -> Fatal:
    place = f"{tp.topic}/{tp.partition}, offset {offset}"
    if isinstance(error, CodecMissingError):
        remedy = "install it, or set compression.type of the topic to gzip and send the posts again"
        return Fatal(f"the batch at {place} is compressed with {error}", remedy, EXIT_UNAVAILABLE)
    remedy = (
        "check the disks of the brokers; to continue without the batch, delete it with kafka-delete-records.sh and set "
        "kafka.on_deleted = 'skip'"
    )
    return Fatal(f"the batch at {place} is damaged ({error})", remedy, EXIT_UNAVAILABLE)


def read_in_bounded_memory() -> None:
    """Makes all aiokafka consumers of this process read batches as this module does."""
    fetcher.MemoryRecords, fetcher.FetchResult = Batches, _Fetched
