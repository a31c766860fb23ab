"""States in SQLite: one row of JSON per name."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence

from pipeline.domain.states import StateKey, T
from pipeline.store.sqlite.database import Database, each


class SqliteStates:
    """Implements `StateStore`."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def put_state(self, key: StateKey[T], value: T) -> None:
        with self._db.writing() as db:
            write_states(db, {key: value})

    def swap_state(self, key: StateKey[T], before: T | None, value: T) -> bool:
        with self._db.writing() as db:
            known = _state(db, key)
            if known != before:
                return known == value
            write_states(db, {key: value})
        return True

    def state(self, key: StateKey[T]) -> T | None:
        with self._db.reading() as db:
            return _state(db, key)

    def states(self, keys: Sequence[StateKey[T]]) -> dict[StateKey[T], T]:
        query = "SELECT name, value FROM state WHERE name IN ({})"
        with self._db.reading() as db:
            stored = dict(each(db, query, [key.name for key in keys]))
        found = {key: key.read(json.loads(stored[key.name])) for key in keys if key.name in stored}
        return {key: state for key, state in found.items() if state is not None}


def write_states(db: sqlite3.Connection, states: Mapping[StateKey[T], T]) -> None:
    """Writes states in the transaction that `db` has open."""
    rows = [(key.name, json.dumps(key.encode(value))) for key, value in states.items()]
    db.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", rows)


def _state(db: sqlite3.Connection, key: StateKey[T]) -> T | None:
    row = db.execute("SELECT value FROM state WHERE name = ?", (key.name,)).fetchone()
    return key.read(json.loads(row[0]) if row else None)
