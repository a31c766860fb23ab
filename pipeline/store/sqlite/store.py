"""The store on a laptop: one SQLite file, with FTS5 for search. Several processes may share it (WAL)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from pipeline.store.closed_days import utc_now
from pipeline.store.composed import ComposedStore
from pipeline.store.sqlite.alerts import SqliteAlerts
from pipeline.store.sqlite.annotations import SqliteAnnotations
from pipeline.store.sqlite.database import Database
from pipeline.store.sqlite.posts import SqlitePosts
from pipeline.store.sqlite.progress import SqliteProgress
from pipeline.store.sqlite.states import SqliteStates


class SqliteStore(ComposedStore):
    """Implements `Store`; serialises the calls of several threads."""

    def __init__(self, path: Path, now: Callable[[], datetime] = utc_now) -> None:
        """`now` is the wall clock, which tells whether a day is closed."""
        self.database = Database(path)
        super().__init__(
            posts=SqlitePosts(self.database, now),
            annotations=SqliteAnnotations(self.database),
            alerts=SqliteAlerts(self.database),
            progress=SqliteProgress(self.database),
            states=SqliteStates(self.database),
        )

    def setup(self) -> list[str]:
        return self.database.setup()

    def check(self) -> str:
        self.database.check()
        return f"SQLite {sqlite3.sqlite_version} at {self.database.path}, {self.post_count()} posts"

    def close(self) -> None:
        self.database.close()
