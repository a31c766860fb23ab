"""States in SQLite: one row of JSON per name."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.store.sqlite.database import Database, each


class SqliteStates:
    """Implements `StateStore`."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def put_state(self, name: str, value: Mapping[str, Any]) -> None:
        with self._db.writing() as db:
            write_states(db, {name: value})

    def swap_state(self, name: str, before: Mapping[str, Any] | None, value: Mapping[str, Any]) -> bool:
        with self._db.writing() as db:
            known = _state(db, name)
            if known != before:
                return bool(known == value)
            write_states(db, {name: value})
        return True

    def state(self, name: str) -> dict[str, Any] | None:
        with self._db.reading() as db:
            return _state(db, name)

    def states(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        query = "SELECT name, value FROM state WHERE name IN ({})"
        with self._db.reading() as db:
            return {name: dict(json.loads(value)) for name, value in each(db, query, names)}


def write_states(db: sqlite3.Connection, states: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes states, by name, in the transaction that `db` has open."""
    rows = [(name, json.dumps(value)) for name, value in states.items()]
    db.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", rows)


def _state(db: sqlite3.Connection, name: str) -> dict[str, Any] | None:
    row = db.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
    return dict(json.loads(row[0])) if row else None
