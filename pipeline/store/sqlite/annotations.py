"""Annotations in SQLite."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from pipeline.domain.annotation import Annotation
from pipeline.domain.unreadable import skip_unreadable
from pipeline.store.sqlite.database import Database


class SqliteAnnotations:
    """Implements `AnnotationStore`."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def put_annotations(self, annotations: Sequence[Annotation]) -> None:
        with self._db.writing() as db:
            db.executemany(
                "INSERT OR REPLACE INTO labels VALUES (?, ?, ?)",
                [(x.id, x.at.isoformat(), json.dumps(x.to_json(), ensure_ascii=False)) for x in annotations],
            )

    def annotations(self) -> Iterator[Annotation]:
        with self._db.reading() as db:
            rows = db.execute("SELECT document FROM labels ORDER BY at, id").fetchall()
        return skip_unreadable("labels in the store", rows, lambda row: Annotation.from_json(json.loads(row[0])))

    def drop_annotations(self, annotations: Sequence[Annotation]) -> int:
        with self._db.writing() as db:
            return sum(db.execute("DELETE FROM labels WHERE id = ?", (x.id,)).rowcount for x in annotations)
