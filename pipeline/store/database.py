"""The SQLite file: its tables, transactions and errors. Several processes may share it (WAL)."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import EXIT_UNAVAILABLE, Fatal, Transient

_SCHEMA = """
CREATE TABLE IF NOT EXISTS posts (
  rowid INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, time REAL NOT NULL,
  bucket INTEGER NOT NULL, repost INTEGER NOT NULL, topic TEXT NOT NULL, content_hash TEXT NOT NULL,
  labels TEXT NOT NULL, negative_score REAL NOT NULL, origin TEXT NOT NULL, document TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS posts_time ON posts (time);
CREATE INDEX IF NOT EXISTS posts_content ON posts (content_hash);
CREATE TABLE IF NOT EXISTS post_subjects (
  post INTEGER NOT NULL REFERENCES posts(rowid) ON DELETE CASCADE, subject TEXT NOT NULL,
  PRIMARY KEY (post, subject)) WITHOUT ROWID;
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
#: Values that one statement takes.
_VARIABLES = 500


class Database:
    """Calls from several threads are taken one at a time; raises `Transient` or `Fatal` only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.connection = sqlite3.connect(path, timeout=30, check_same_thread=False, isolation_level=None)
            self.connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON")
        except (OSError, sqlite3.Error) as error:
            raise Fatal(f"store {path}: {error}", "give a writable path in store.url", EXIT_UNAVAILABLE) from None

    def setup(self) -> list[str]:
        """Creates the tables that are missing and says which."""
        with self.writing() as db:
            known = {row[0] for row in db.execute("SELECT name FROM sqlite_master")}
            for statement in filter(str.strip, _SCHEMA.split(";\n")):
                db.execute(statement)
            made = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")} - known
        return [f"table {name}" for name in ("posts", "alerts", "labels", "progress", "state") if name in made]

    def close(self) -> None:
        with self._lock:
            self.connection.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, all of it or nothing."""
        with self.reading() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, to this thread alone."""
        with self._lock:
            try:
                yield self.connection
            except sqlite3.OperationalError as error:
                if "no such table" in str(error):
                    raise Fatal(f"store {self.path}: {error}", "run 'opinionwatch setup'") from None
                raise Transient(f"store {self.path}: {error}") from error
            except sqlite3.DatabaseError as error:
                raise Fatal(f"store {self.path}: {error}", "restore the file or remove it", EXIT_UNAVAILABLE) from None


def each(db: sqlite3.Connection, query: str, values: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Rows of `query`, whose {} stands for as many of the values as SQLite takes at once."""
    for at in range(0, len(values), _VARIABLES):
        some = values[at : at + _VARIABLES]
        yield from db.execute(query.format(", ".join("?" * len(some))), some)
