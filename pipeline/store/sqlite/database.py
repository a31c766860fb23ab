"""The SQLite file with its tables, transactions and errors. Several processes may share it (WAL)."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.domain.connection_errors import printable
from pipeline.domain.errors import EXIT_UNAVAILABLE, Fatal, PipelineError, Transient

log = logging.getLogger(__name__)
#: The sentiment toward each subject: `bin` is the rounded `score`. Releases before 0.13.0 do not know this table.
_TOWARD = """CREATE TABLE IF NOT EXISTS post_toward (
  post INTEGER NOT NULL REFERENCES posts(rowid) ON DELETE CASCADE, subject TEXT NOT NULL, label TEXT NOT NULL,
  score REAL NOT NULL, bin REAL NOT NULL, PRIMARY KEY (post, subject)) WITHOUT ROWID"""
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS posts (
  rowid INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, time REAL NOT NULL,
  bucket INTEGER NOT NULL, repost INTEGER NOT NULL, topic TEXT NOT NULL, content_hash TEXT NOT NULL,
  labels TEXT NOT NULL, negative_score REAL NOT NULL, origin TEXT NOT NULL, document TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS posts_time ON posts (time);
CREATE INDEX IF NOT EXISTS posts_content ON posts (content_hash);
CREATE TABLE IF NOT EXISTS post_subjects (
  post INTEGER NOT NULL REFERENCES posts(rowid) ON DELETE CASCADE, subject TEXT NOT NULL,
  PRIMARY KEY (post, subject)) WITHOUT ROWID;
{_TOWARD};
CREATE TABLE IF NOT EXISTS originals (content_hash TEXT PRIMARY KEY, owner TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS progress (
  topic TEXT, "partition" INTEGER, next_offset INTEGER NOT NULL, value TEXT NOT NULL,
  PRIMARY KEY (topic, "partition")) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alerts (id TEXT PRIMARY KEY, open INTEGER NOT NULL, started TEXT NOT NULL, document TEXT);
CREATE TABLE IF NOT EXISTS deliveries (
  alert TEXT NOT NULL, channel TEXT NOT NULL, due REAL NOT NULL, attempts INTEGER NOT NULL,
  PRIMARY KEY (channel, alert)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS deliveries_alert ON deliveries (alert);
CREATE TABLE IF NOT EXISTS labels (id TEXT PRIMARY KEY, at TEXT NOT NULL, document TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(body);
"""
#: Every SQLite file begins with these bytes.
_MAGIC = b"SQLite format 3\0"
#: The number of values that one statement accepts.
_VARIABLES = 500
#: More rows than a table can have: the largest LIMIT.
MOST_ROWS = 1 << 62
#: `check` takes a disk with fewer free bytes for full.
_MIN_FREE = 100_000_000
_WRITABLE = "set store.url to a file that this user may write, in a folder that this user may write"
_OTHER_RELEASE = "use the release of opinionwatch that made the file, or set store.url to another path"
#: Result codes of problems that pass or that a person can solve, with the remedy.
_TRANSIENT = {
    sqlite3.SQLITE_BUSY: "another process is writing for a long time: find out which process has the file open",
    sqlite3.SQLITE_LOCKED: "another process is writing for a long time: find out which process has the file open",
    sqlite3.SQLITE_FULL: "free space on that disk",
    sqlite3.SQLITE_IOERR: "check the disk and the file system",
    sqlite3.SQLITE_NOMEM: "free memory on this machine",
    sqlite3.SQLITE_PROTOCOL: "wait: another process opens the file at the same time",
    sqlite3.SQLITE_INTERRUPT: "run it again",
    sqlite3.SQLITE_READONLY: "make the file and its folder writable for this user",
    sqlite3.SQLITE_CANTOPEN: "make the file and its folder writable for this user",
    sqlite3.SQLITE_PERM: "make the file and its folder writable for this user",
}


class Database:
    """Serialises the writes of several threads; reads run at the same time on a connection of their own.

    It raises only `Transient` or `Fatal`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock, self._read_lock = threading.RLock(), threading.RLock()
        self._writer: int | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _revoke_public_access(path)
            self.connection = sqlite3.connect(path, timeout=30, check_same_thread=False, isolation_level=None)
            self.connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON")
            if self.connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'posts'").fetchone():
                self.connection.execute(_TOWARD)
            self._reader = sqlite3.connect(path, timeout=30, check_same_thread=False, isolation_level=None)
            self._reader.execute("PRAGMA query_only=ON")
            self._file = path.stat()
        except (OSError, ValueError) as error:
            reason = printable(error.strerror or str(error) if isinstance(error, OSError) else str(error))
            raise Fatal(f"store {path}: {reason}", _WRITABLE, EXIT_UNAVAILABLE) from None
        except sqlite3.Error as error:
            if _code(error) in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}:
                raise Fatal(f"store {path}: {_why_unopened(path) or error}", _WRITABLE, EXIT_UNAVAILABLE) from None
            raise failure(path, error) from None

    def setup(self) -> list[str]:
        """Creates the tables that are missing; returns one line per table."""
        with self.writing() as db:
            known = {row[0] for row in db.execute("SELECT name FROM sqlite_master")}
            for statement in filter(str.strip, _SCHEMA.split(";\n")):
                db.execute(statement)
            made = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")} - known
        return [f"table {name}" for name in ("posts", "alerts", "labels", "progress", "state") if name in made]

    def check(self) -> None:
        """Raises `Fatal` if setup has not run or another release made the tables, `Transient` if the disk is full."""
        with sqlite3.connect(":memory:") as blank:
            blank.executescript(_SCHEMA)
            wanted = _columns(blank)
        with self.reading() as db:
            found = _columns(db)
            if "posts" not in found:
                raise Fatal(f"store {self.path} has no tables", "run 'opinionwatch setup'")
            for table, columns in wanted.items():
                if missing := columns - found.get(table, set()):
                    raise Fatal(
                        f"store {self.path}: table {table} has no column {sorted(missing)[0]}: another release made it",
                        _OTHER_RELEASE,
                    )
        free = shutil.disk_usage(self.path.parent).free
        if free < _MIN_FREE:
            raise Transient(
                f"store {self.path}: only {free // 1_000_000} MB are free on its disk",
                remedy=f"free at least {_MIN_FREE // 1_000_000} MB there, or move the file and set store.url",
            )

    def close(self) -> None:
        with self._lock, self._read_lock:
            self._reader.close()
            self.connection.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction, which is committed as a whole or not at all."""
        with self._exclusive(), self.reading() as db:
            self._refuse_another_file()
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                # SQLite rolls back by itself if the disk is full or broken.
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def _refuse_another_file(self) -> None:
        """Raises `Fatal` if the path leads to another file: writes to a deleted file are lost when the process ends."""
        try:
            same = os.path.samestat(self.path.stat(), self._file)
        except OSError:
            same = False
        if not same:
            raise Fatal(
                f"store {self.path} was deleted, moved or replaced while it was open",
                "put the file back, or run 'opinionwatch setup' to make a new one, then restart this process",
                EXIT_UNAVAILABLE,
            )

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Makes this thread the only one that writes."""
        with self._lock:
            self._writer = threading.get_ident()
            try:
                yield
            finally:
                self._writer = None

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for this thread alone: that of the transaction inside `writing`, otherwise a read-only one."""
        inside = self._writer == threading.get_ident()
        with self._lock if inside else self._read_lock:
            try:
                yield self.connection if inside else self._reader
            except sqlite3.Error as error:
                raise failure(self.path, error) from error


def failure(path: Path, error: sqlite3.Error) -> PipelineError:
    """The exception for an error of SQLite: `Transient` if the problem may pass or a person can solve it."""
    code, message = _code(error), f"store {path}: {printable(str(error))}"
    if code in _TRANSIENT:
        return Transient(message, remedy=_TRANSIENT[code])
    if code == sqlite3.SQLITE_NOTADB:
        return Fatal(message, "set store.url to a file that opinionwatch made, or to a path where no file exists")
    if code == sqlite3.SQLITE_CORRUPT:
        return Fatal(
            message,
            f"stop the workers, then restore {path} from a backup, or rescue it: sqlite3 {path} .recover | sqlite3 NEW",
            EXIT_UNAVAILABLE,
        )
    if "no such table" in str(error):
        return Fatal(message, "run 'opinionwatch setup'")
    if "column" in str(error):
        return Fatal(message, _OTHER_RELEASE)
    return Fatal(message, "report it to opinionwatch with this message", EXIT_UNAVAILABLE)


def _code(error: sqlite3.Error) -> int:
    """The primary result code; 0 if Python's module raised the error itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _why_unopened(path: Path) -> str:
    """The reason why a file cannot be opened, which SQLite does not give; empty if it is unknown."""
    if path.is_dir():
        return "it is a folder"
    for each in (path, path.parent):
        if each.exists() and not os.access(each, os.W_OK):
            return f"this user may not write {'it' if each == path else f'to its folder {each}'}"
    return ""


def _columns(db: sqlite3.Connection) -> dict[str, set[str]]:
    query = """SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c
        WHERE m.type = 'table' AND m.name NOT LIKE 'words_%'"""
    found: dict[str, set[str]] = {}
    for table, column in db.execute(query):
        found.setdefault(table, set()).add(column)
    return found


def _revoke_public_access(path: Path) -> None:
    """Creates the file for this user alone, and revokes the access of all other users to an existing one.

    A file that only a group may read was shared on purpose and stays as it is. So does a file that is not a database,
    because the settings may name any file by mistake.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        if not _is_database(path):
            return
        for file in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
            found = file.stat() if file.exists() else None
            if found and stat.S_ISREG(found.st_mode) and found.st_mode & 0o007 and found.st_uid == os.geteuid():
                file.chmod(0o600)
                log.warning("store %s was open to every user of this machine; their access is now revoked", file)


def _is_database(path: Path) -> bool:
    """Whether the file is empty or begins like an SQLite file; a file that cannot be read is not a database."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) in {b"", _MAGIC}
    except OSError:
        return False


def each(db: sqlite3.Connection, query: str, values: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """The rows of `query` for all values: its {} takes the placeholders of as many values as SQLite accepts at once."""
    for at in range(0, len(values), _VARIABLES):
        some = values[at : at + _VARIABLES]
        yield from db.execute(query.format(", ".join("?" * len(some))), some)
