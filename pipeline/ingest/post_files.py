"""Reads files of posts into the bytes of records, and accounts for the rows that could not be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from models.files.encodings import SAMPLE, FileError, opened, text_of
from models.files.rows import BadRow, Row
from models.files.tables import Format, rows_of
from models.json_types import JsonObject
from models.text import content_hash
from pipeline.classify.codec import decode
from pipeline.domain.errors import EXIT_USAGE, Fatal, Poison
from pipeline.domain.post import Origin, Post, Record
from pipeline.ingest.columns import RowError, Rules, as_bytes, missing_columns, post_of
from pipeline.ingest.feeds import MAX_FEED, is_json_feed, is_markup, read_feed
from pipeline.ingest.file_format import FileFormat

_NAMED = 10


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a file: the bytes of its record, or why there is no record."""

    line: int
    value: bytes = b""
    reason: str = ""
    problem: str = ""
    structural: bool = False
    timed: bool = False
    left_out: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    surplus: bool = False


@dataclass(slots=True)
class Intake:
    """Counts what became of a file's rows; `columns` moved to `extra`, and `broken` has the lines of malformed rows."""

    produced: int = 0
    untimed: int = 0
    surplus: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    columns: dict[str, None] = field(default_factory=dict)
    broken: list[int] = field(default_factory=list)

    def reject(self, entry: Entry, reason: str) -> None:
        self.rejected[reason] += 1
        if entry.structural and len(self.broken) < _NAMED:
            self.broken.append(entry.line)

    def take(self, entry: Entry) -> None:
        self.produced += 1
        self.untimed += not entry.timed
        self.surplus += entry.surplus
        self.left_out.update(entry.left_out)

    def see(self, entry: Entry) -> None:
        """Notes the columns of a row that match no field."""
        if len(self.columns) < _NAMED:
            self.columns.update(dict.fromkeys(entry.unknown))

    def to_json(self) -> JsonObject:
        return {
            "produced": self.produced,
            "rejected": self.rejected.total(),
            "reasons": dict(self.rejected),
            "without_time": self.untimed,
            "left_out": dict(self.left_out),
            "surplus": self.surplus,
            "unknown_columns": list(self.columns)[:_NAMED],
        }

    def lines(self) -> list[str]:
        """Returns lines for a terminal: the counts, and what was not used."""
        said = [f"produced {self.produced}, rejected {self.rejected.total()}, without usable time {self.untimed}"]
        if self.left_out:
            said.append("kept in extra, not readable: " + ", ".join(f"{k} {n}" for k, n in self.left_out.items()))
        if self.surplus:
            said.append(f"{self.surplus} rows have more values than columns; the surplus is kept in extra")
        if self.columns:
            said.append("kept in extra, no field of a post: " + ", ".join(list(self.columns)[:_NAMED]))
        return said

    @property
    def nothing_used(self) -> str:
        """Describes why no post could be used."""
        why = ", ".join(f"{reason} {n}" for reason, n in self.rejected.most_common(5)) or "the file has no rows"
        return f"no post could be used ({why})"

    def verify(self, file: Path) -> None:
        """Raises `Fatal` if no row was used, or if rows of the file are malformed."""
        if not self.produced:
            raise Fatal(
                f"{file}: {self.nothing_used}",
                "see the reasons above; --map text=COLUMN names a column, --source the source, --format the format",
                EXIT_USAGE,
            )
        if self.broken:
            lines = ", ".join(map(str, self.broken))
            raise Fatal(
                f"{file}: broken at line {lines}; the other {self.produced} posts were sent",
                "correct these lines and send the file again: posts that were sent before stay as they are",
                EXIT_USAGE,
            )


def checked(entry: Entry, file: Path, timestamp_ms: int) -> Post:
    """Decodes a row as if it were sent at `timestamp_ms`; raises `Poison` if it is not a post."""
    if entry.reason:
        raise Poison("read", entry.reason, entry.problem)
    return decode(Record(Origin(file.name, 0, entry.line), timestamp_ms, entry.value))


@contextmanager
def posts_of(
    file: Path,
    rules: Rules,
    format_: FileFormat | None = None,
    encoding: str | None = None,
    *,
    default_source: str = "",
) -> Iterator[tuple[str, Iterator[Entry]]]:
    """Yields how the file is read, for display, and its rows as records; raises `Fatal`, also while they are read.

    Posts get `default_source` if neither they, the rules nor the feed name a source.
    """
    name = str(file)
    try:
        with opened(file) as source:
            head = source.peek(SAMPLE)
            if format_ is FileFormat.feed or (format_ is None and (is_markup(head) or is_json_feed(head))):
                title, rows = read_feed(source.read(MAX_FEED + 1), name, encoding)
                rules = replace(rules, source=rules.source or title or file.stem, kind="news")
                said, derived = "feed", True
            else:
                text = text_of(source, name, encoding)
                rows = rows_of(text, name, Format(format_.value) if format_ else None)
                rules = replace(rules, source=rules.source or default_source)
                said, derived = text.encoding, False
            yield said, _guarded(_entries(rows, rules, name, derived=derived))
    except FileError as error:
        raise Fatal(error.problem, error.remedy, EXIT_USAGE) from None


def _guarded(entries: Iterator[Entry]) -> Iterator[Entry]:
    try:
        yield from entries
    except FileError as error:
        raise Fatal(error.problem, error.remedy, EXIT_USAGE) from None


def _entries(rows: Iterator[Row | BadRow], rules: Rules, name: str, *, derived: bool) -> Iterator[Entry]:
    first = True
    for row in rows:
        if isinstance(row, BadRow):
            yield Entry(row.line, reason="unreadable", problem=row.reason, structural=row.structural)
            continue
        if first and (missing := missing_columns(row.values, rules)):
            columns = ", ".join(map(str, list(row.values)[:30]))
            raise FileError(
                f"{name}:{row.line}: the row has no column {missing[0]!r}",
                f"use one of these columns with --map: {columns}",
            )
        first = False
        try:
            found = post_of(row.values, rules, row.surplus)
        except RowError as error:
            yield Entry(row.line, reason=error.reason, problem=str(error))
            continue
        post = found.post
        if derived and not (post.get("id") or post.get("url")):
            # Feed readers also identify such items by their content.
            post = {**post, "id": _content_id(post)}
        yield Entry(
            row.line,
            as_bytes(post),
            timed=found.timed,
            left_out=found.left_out,
            unknown=found.unknown,
            surplus=bool(row.surplus),
        )


def _content_id(post: JsonObject) -> str:
    """Derives an id from the content of a post, the same at every reading."""
    return content_hash("\x00".join(str(post.get(k, "")) for k in ("title", "text", "published_at", "author")))
