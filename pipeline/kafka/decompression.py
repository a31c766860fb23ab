"""Decompresses a record batch in chunks, so that its decompressed bytes are never in memory as a whole.

Kafka limits only the compressed size of a batch, and one megabyte may decompress to a gigabyte of zeros.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator
from importlib.util import find_spec

CHUNK_BYTES = 1 << 20
#: The name of each codec and the package that reads it, by the number in the batch's header.
CODECS = {1: ("gzip", "zlib"), 2: ("snappy", "snappy"), 3: ("lz4", "lz4"), 4: ("zstd", "zstandard")}
_PIP_NAMES = {"snappy": "python-snappy", "lz4": "lz4", "zstandard": "zstandard"}
_XERIAL = b"\x82SNAPPY\x00"
#: 3 bytes of a snappy block decompress to at most 64; a block that announces more is damaged.
_SNAPPY_RATIO = 22


class CodecMissingError(Exception):
    """The codec is not installed or not known."""


class DamagedError(Exception):
    """The bytes are not valid for their codec."""


def missing_codecs() -> dict[str, str]:
    """Returns the codecs that this installation cannot read, each with the package to install."""
    return {name: _PIP_NAMES[module] for name, module in CODECS.values() if find_spec(module) is None}


def decompressed(codec: int, payload: bytes) -> Iterator[bytes]:
    """Yields chunks of about `CHUNK_BYTES` (for snappy, its blocks); raises `CodecMissingError` or `DamagedError`."""
    read = {1: _gzip, 2: _snappy, 3: _lz4, 4: _zstd}.get(codec)
    if read is None:
        raise CodecMissingError(f"compression {codec}, which this release does not know")
    name, module = CODECS[codec]
    if find_spec(module) is None:
        raise CodecMissingError(f"{name}, which needs the package {_PIP_NAMES[module]}")
    try:
        yield from read(payload)
    except DamagedError:
        raise
    except Exception as error:
        raise DamagedError(f"{name}: {type(error).__name__}") from error


def _gzip(payload: bytes) -> Iterator[bytes]:
    left = payload
    while left:
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            chunk = member.decompress(left, CHUNK_BYTES)
            left = member.unconsumed_tail
            if chunk:
                yield chunk
            elif not left and not member.eof:
                raise DamagedError("gzip: truncated")
        left = member.unused_data


def _lz4(payload: bytes) -> Iterator[bytes]:
    import lz4.frame

    frame = lz4.frame.LZ4FrameDecompressor()
    left = payload
    while True:
        chunk = frame.decompress(left, CHUNK_BYTES)
        left = b""
        if chunk:
            yield chunk
        if frame.eof:
            if not (left := frame.unused_data or b""):
                return
            frame = lz4.frame.LZ4FrameDecompressor()
        elif not chunk and frame.needs_input:
            raise DamagedError("lz4: truncated")


def _zstd(payload: bytes) -> Iterator[bytes]:
    import zstandard

    with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(payload), read_across_frames=True) as reader:
        while chunk := reader.read(CHUNK_BYTES):
            yield chunk


def _snappy(payload: bytes) -> Iterator[bytes]:
    import snappy

    for block in _snappy_blocks(payload):
        if _announced(block) > _SNAPPY_RATIO * len(block):
            raise DamagedError("snappy: a block announces more than it can hold")
        yield snappy.uncompress(block)


def _snappy_blocks(payload: bytes) -> Iterator[bytes]:
    """Yields the blocks of the framing that Java producers use, or the single block of librdkafka."""
    if not payload.startswith(_XERIAL):
        yield payload
        return
    at = 16
    while at < len(payload):
        size = int.from_bytes(payload[at : at + 4], "big")
        block = payload[at + 4 : at + 4 + size]
        if len(block) < size:
            raise DamagedError("snappy: truncated")
        yield block
        at += 4 + size


def _announced(block: bytes) -> int:
    size = shift = 0
    for byte in block[:5]:
        size |= (byte & 0x7F) << shift
        if byte < 0x80:
            return size
        shift += 7
    raise DamagedError("snappy: a block has no valid length")


class Reader:
    """Buffers decompressed bytes; the buffer grows to the requested size plus at most one chunk."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.buffer = bytearray()
        self._chunks = chunks

    def fill(self, size: int) -> bool:
        """Decompresses until the buffer has `size` bytes; False if the batch ends before."""
        while len(self.buffer) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            self.buffer += chunk
        return True

    def take(self, size: int) -> bytes:
        """Removes the next `size` bytes from the buffer and returns them."""
        if not self.fill(size):
            raise DamagedError("a record is truncated")
        taken = bytes(self.buffer[:size])
        del self.buffer[:size]
        return taken

    def skip(self, size: int, see: Callable[[bytes], object] = lambda _: None) -> None:
        """Skips the next `size` bytes and passes them to `see` a chunk at a time."""
        while size:
            part = self.take(min(size, CHUNK_BYTES))
            see(part)
            size -= len(part)

    def count(self) -> int:
        """Reads a number that is not negative."""
        return max(0, self.varint()[0])

    def text(self) -> bytes | None:
        """Reads a length and that many bytes; None if the length is negative."""
        size, _ = self.varint()
        return self.take(size) if size >= 0 else None

    def varint(self) -> tuple[int, int]:
        """Reads a number in the encoding of records, and returns it with the number of its bytes."""
        self.fill(10)
        found = varint(self.buffer, 0)
        if found is None:
            raise DamagedError("a record is truncated")
        del self.buffer[: found[1]]
        return found


def varint(data: bytes | bytearray, at: int) -> tuple[int, int] | None:
    """Returns the zigzag number at `at` and the index after it; None if the bytes end before the number does.

    >>> varint(b"\\x03", 0), varint(b"\\x80\\x01", 0), varint(b"\\x80", 0)
    ((-2, 1), (64, 2), None)
    """
    raw = shift = 0
    for index in range(at, min(at + 10, len(data))):
        byte = data[index]
        raw |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (raw >> 1) ^ -(raw & 1), index + 1
        shift += 7
    if len(data) - at >= 10:
        raise DamagedError("a number in a record does not end")
    return None
