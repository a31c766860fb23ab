"""Progress per source partition and log in SQLite."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pipeline.domain.ledger import current_progress
from pipeline.domain.progress import Progress
from pipeline.domain.unreadable import skip_unreadable
from pipeline.store.sqlite.database import Database


class SqliteProgress:
    """Implements `ProgressStore`."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def save_progress(self, progress: Sequence[Progress]) -> None:
        with self._db.writing() as db:
            db.executemany(
                """INSERT INTO progress VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE
                SET next_offset = excluded.next_offset, value = excluded.value
                WHERE excluded.next_offset >= next_offset""",
                [(p.log_key, p.partition, p.next_offset, json.dumps(p.to_json())) for p in progress],
            )

    def load_progress(self) -> dict[tuple[str, int], Progress]:
        return current_progress(self.all_progress())

    def all_progress(self) -> list[Progress]:
        with self._db.reading() as db:
            rows = [row[0] for row in db.execute("SELECT value FROM progress")]
        return list(skip_unreadable("progress in the store", rows, lambda row: Progress.from_json(json.loads(row))))
