"""Record batches of Kafka in bounded memory, in place of how aiokafka unpacks them.

aiokafka unpacks a batch at once, and hands over up to 512 records whatever their size: 444 KB of a topic took 1.5 GB.
Here a batch is unpacked piece by piece, and a look at the fetcher brings a few megabytes. All records are delivered as
ever, but one of over `LARGEST_RECORD` is passed over without being held: its size and SHA-256 are delivered in its
place, which is what a dead letter by reference needs.
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
#: Of one record, key, value and headers together; the dead-letter topic takes 10 MB of them.
LARGEST_RECORD = 32_000_000
#: What one look at the fetcher brings of a partition, at least one record.
LOOK_BYTES = 4_000_000
_HEADER = struct.Struct(">qiibIhiqqqhii")
_ATTRIBUTES, _COUNT = 5, 12
_CODEC, _LOG_APPEND_TIME = 0x07, 0x08


class Elided(bytes):
    """Stands, empty, for a value that is too large to be held: of `size` bytes, with their SHA-256 (hex)."""

    size: int
    sha256: str

    @classmethod
    def of(cls, size: int, sha256: str) -> Elided:
        made = cls()
        made.size, made.sha256 = size, sha256
        return made


class _Record(NamedTuple):
    """As aiokafka's records are."""

    offset: int
    timestamp: int
    timestamp_type: int
    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()
    checksum: None = None


class Batches:
    """The batches of a fetch response, in order; takes the place of aiokafka's `MemoryRecords`."""

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
        # Older formats are of logs that no broker since 0.11 writes.
        return _Batch(raw) if raw[16] >= 2 else LegacyRecordBatch(raw, raw[16])

    def _end(self) -> int | None:
        """Where the next batch ends; None where it is not there as a whole."""
        if len(self._data) - self._at < 17:
            return None
        end = self._at + 12 + int.from_bytes(self._data[self._at + 8 : self._at + 12], "big", signed=True)
        return int(end) if self._at + 17 <= end <= len(self._data) else None


class _Batch:
    """One batch; what is not compressed is aiokafka's own to read."""

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
        """The marker of a control batch, which is never compressed."""
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
                raise DamagedError("a record is cut off")
            if found[0] > LARGEST_RECORD:
                yield self._large(reader)
                left -= 1
            elif not reader.fill(found[1] + found[0]):
                raise DamagedError("a record is cut off")

    def _piece(self, records: bytes | bytearray, count: int) -> Iterator[Any]:
        """The records of a part of the batch, through aiokafka's own reader of what is not compressed."""
        header = list(self._header)
        header[1] = _HEADER.size - 12 + len(records)
        header[_ATTRIBUTES] &= ~_CODEC
        header[_COUNT] = count
        return self._tolerant(DefaultRecordBatch(_HEADER.pack(*header) + bytes(records)), records)

    def _tolerant(self, found: Iterator[Any], records: bytes | bytearray) -> Iterator[Any]:
        """`found` are the records as aiokafka reads them, which no broker keeps from having odd header names."""
        done = 0
        try:
            for record in found:
                yield record
                done += 1
        except UnicodeDecodeError:
            yield from islice(self._with_odd_names(records), done, None)

    def _with_odd_names(self, records: bytes | bytearray) -> Iterator[_Record]:
        """The same records; what is no UTF-8 in the name of a header becomes U+FFFD."""
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
        """Reads over a record; its key and headers are not kept."""
        left, _ = reader.varint()
        reader.take(1)
        left -= 1
        numbers = []
        for _ in range(3):
            number, size = reader.varint()
            numbers.append(number)
            left -= size
        time_delta, offset_delta, key_bytes = numbers
        reader.pass_over(max(0, key_bytes))
        value_bytes, size = reader.varint()
        value_bytes = max(0, value_bytes)
        left -= size + max(0, key_bytes) + value_bytes
        if left < 0:
            raise DamagedError("a record is longer than it says")
        digest = hashlib.sha256()
        reader.pass_over(value_bytes, digest.update)
        reader.pass_over(left)
        return self._record(time_delta, offset_delta, Elided.of(value_bytes, digest.hexdigest()))


def _whole_records(buffer: bytearray, most: int) -> tuple[int, int]:
    """Where the last whole record of the buffer ends, and how many there are."""
    at = records = 0
    while records < most:
        found = varint(buffer, at)
        if found is None or found[0] < 0 or found[1] + found[0] > len(buffer):
            break
        at = found[1] + found[0]
        records += 1
    return at, records


class _Fetched(fetcher.FetchResult):  # type: ignore[misc]
    """What was fetched of a partition, handed over a few megabytes at a time."""

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
                if size >= LOOK_BYTES or (max_records is not None and len(found) >= max_records):
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
        "look at the disks of the brokers; to go on without the batch, delete it with kafka-delete-records.sh and set "
        "kafka.on_deleted = 'skip'"
    )
    return Fatal(f"the batch at {place} is damaged ({error})", remedy, EXIT_UNAVAILABLE)


def read_in_bounded_memory() -> None:
    """From here on, aiokafka's consumers of this process unpack batches as above."""
    fetcher.MemoryRecords, fetcher.FetchResult = Batches, _Fetched
