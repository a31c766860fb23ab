"""Opens files as text: unpacks them within a limit and detects their encoding. No network.

A byte that is invalid in the encoding becomes a lone surrogate, so that it loses its line and not the file.
"""

from __future__ import annotations

import codecs
import gzip
import io
import re
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

#: The encoding is detected from this many bytes of a file.
SAMPLE = 1 << 18
#: Most bytes that a .gz may unpack to, and most bytes of a file that is read as a whole (JSON arrays, feeds).
MAX_UNPACKED, MAX_WHOLE = 8 << 30, 256 << 20

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
#: Where several encodings fit equally well, the first one wins.
_CANDIDATES = (
    "gb18030",
    "big5hkscs",
    "euc_jp",
    "cp932",
    "cp949",
    "cp1252",
    "cp1251",
    "cp1250",
    "cp1254",
    "cp1256",
    "koi8_r",
)
MULTIBYTE = _CANDIDATES[:5]
#: The larger encodings that browsers use where a document names the smaller one.
_WIDER = {
    "gb2312": "gb18030", "gbk": "gb18030", "hz": "hz", "big5": "big5hkscs", "shift_jis": "cp932", "euc_kr": "cp949",
    "ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-9": "cp1254", "iso8859-11": "cp874",
}  # fmt: skip
_NOT_TEXT = (
    (b"PK\x03\x04", "an Excel workbook or a ZIP archive", "save it as CSV (UTF-8), or unpack it"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "save it as CSV (UTF-8)"),
    (b"PAR1", "a Parquet file", "write it as JSONL"),
    (b"BZh", "packed with bzip2", "unpack it with bunzip2"),
    (b"\xfd7zXZ", "packed with xz", "unpack it with unxz"),
    (b"\x28\xb5\x2f\xfd", "packed with Zstandard", "unpack it with unzstd"),
    (b"%PDF", "a PDF", "export the data as CSV or JSONL"),
    (b"SQLite format 3", "an SQLite database", "export the table as CSV"),
)
_KANA = re.compile("[\u3041-\u30fe]")
_HALF_WIDTH = re.compile("[\uff61-\uff9f]")
_BROKEN = re.compile("[\ud800-\udfff]")


class FileError(ValueError):
    """The file cannot be read; `problem` names file and line, `remedy` says what to do."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem = problem
        self.remedy = remedy


class _Unpacked(io.RawIOBase):
    """The unpacked content of a .gz, up to a limit; raises `FileError` where the compression is corrupt."""

    def __init__(self, packed: BinaryIO, name: str) -> None:
        self._source = gzip.GzipFile(fileobj=packed)
        self._name = name
        self._read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            data = self._source.read(len(buffer))
        except (OSError, EOFError, zlib.error) as error:
            raise FileError(
                f"{self._name}: the gzip compression is corrupt ({error})", "compress or copy the file again"
            ) from None
        self._read += len(data)
        if self._read > MAX_UNPACKED:
            raise FileError(f"{self._name}: unpacks to over {MAX_UNPACKED >> 30} GiB", "split the file")
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader]:
    """Opens a file or, for `-`, standard input; unpacks a .gz. Raises `FileError`."""
    raw: io.BufferedReader[Any]
    try:
        raw = _stdin() if str(path) == "-" else io.BufferedReader(io.FileIO(path), SAMPLE)
        head = _head(raw)
    except OSError as error:
        raise FileError(f"{path}: {error.strerror or error}", "give a readable file") from None
    with raw:
        packed = head[:2] == b"\x1f\x8b"
        yield io.BufferedReader(_Unpacked(raw, path.name), SAMPLE) if packed else raw


def _stdin() -> io.BufferedReader:
    """Standard input with a buffer for the sample; a pipe offers the bytes that have arrived."""
    buffer: Any = sys.stdin.buffer
    return io.BufferedReader(getattr(buffer, "raw", buffer), SAMPLE)


def _head(source: io.BufferedReader) -> bytes:
    return source.peek(SAMPLE)[:SAMPLE]


def text_of(source: io.BufferedReader, name: str, encoding: str | None = None) -> io.TextIOWrapper:
    """The file as text with its line ends unchanged; `encoding` overrides the detected one. Raises `FileError`."""
    head = _head(source)
    for magic, what, remedy in _NOT_TEXT:
        if head.startswith(magic):
            raise FileError(f"{name}: is {what}, not text", remedy)
    if encoding is not None and (encoding := known(given := encoding)) is None:
        raise FileError(
            f"{name}: the encoding {given!r} is unknown", "name an encoding of Python, e.g. gb18030 or utf-16"
        )
    encoding = encoding or detected(head)
    errors = "surrogatepass" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"
    return io.TextIOWrapper(source, encoding, errors, newline="")


def known(encoding: str) -> str | None:
    """Python's name of a text encoding, the larger one where the name commonly means it; None for an unknown name.

    >>> known("GB2312"), known("utf8"), known("nonsense"), known("rot13")
    ('gb18030', 'utf-8', None, None)
    """
    try:
        found = codecs.lookup(encoding.strip())
        "".encode(found.name)
    except (LookupError, ValueError, UnicodeError):
        return None
    return _WIDER.get(found.name, found.name)


def detected(head: bytes) -> str:
    """Detects the encoding of a sample by its byte order mark, UTF-8's rules, the positions of NULs, or by a guess.

    >>> detected("\\ufeffid".encode("utf-16")), detected("手机起火了，客服不理人".encode("gbk")), detected(b"id")
    ('utf-16', 'gb18030', 'utf-8')
    """
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name
    even, odd = head[::2].count(0), head[1::2].count(0)
    if len(head) >= 4 and max(even, odd) * 5 > len(head) and min(even, odd) * 20 < max(even, odd):
        return "utf-16-be" if even > odd else "utf-16-le"
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(head)
    bad = text.count("\ufffd") - head.count(b"\xef\xbf\xbd")
    if bad * 10 <= sum(c > "\x7f" for c in text):
        return "utf-8"
    return _guessed(head)


def _guessed(head: bytes) -> str:
    from charset_normalizer import from_bytes

    # The sample may end within a character.
    sample = head if len(head) < 4096 else head[: head.rfind(b"\n") + 1] or head
    found = {m.encoding: m.chaos for m in from_bytes(sample, cp_isolation=list(_CANDIDATES))}
    if not found:
        return "utf-8"
    if len(found) > 1 and _mostly(_HALF_WIDTH, sample, "cp932", of=2):
        found.pop("cp932", None)  # EUC-JP: nobody writes whole texts in half-width kana
    if "euc_jp" in found and _mostly(_KANA, sample, "gb18030", of=5):
        found.pop("gb18030", None)  # both have the kana in the same places, and Chinese has none
    least = min(found.values())
    best = [e for e in _CANDIDATES if found.get(e, 1.0) <= least + 0.01]
    return next(
        (e for e in best if e not in MULTIBYTE or side_by_side(sample.decode(e, "ignore"))),
        best[0] if best else next(iter(found)),
    )


def _mostly(characters: re.Pattern[str], sample: bytes, encoding: str, *, of: int) -> bool:
    """Whether at least one in `of` non-ASCII characters, read in this encoding, is one of `characters`."""
    text = sample.decode(encoding, "ignore")
    return len(characters.findall(text)) * of > sum(map("\x7f".__lt__, text))


def side_by_side(text: str) -> bool:
    """Whether the non-ASCII characters are adjacent, as in languages without Latin letters."""
    beyond = [c > "\x7f" for c in text]
    together = sum(a and b for a, b in zip(beyond, beyond[1:], strict=False))
    return together * 2 >= sum(beyond)


def broken(text: str) -> bool:
    """Whether the text contains bytes that were invalid in its encoding."""
    return not text.isascii() and _BROKEN.search(text) is not None
