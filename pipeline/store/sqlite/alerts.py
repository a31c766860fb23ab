"""Alert documents in SQLite, and a row per delivery that is due."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from datetime import datetime

from pipeline.domain.alert import Alert
from pipeline.domain.unreadable import skip_unreadable
from pipeline.store.alert_documents import stored_alert
from pipeline.store.sqlite.database import MOST_ROWS, Database


class SqliteAlerts:
    """Implements `AlertStore`."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def put_alert(self, alert: Alert) -> bool:
        with self._db.writing() as db:
            there = self._stored(db, alert.id)
            if there and not alert.may_replace(there):
                return False
            document = json.dumps(alert.to_json(), ensure_ascii=False)
            db.execute(
                "INSERT OR REPLACE INTO alerts VALUES (?, ?, ?, ?)",
                (alert.id, alert.is_open, alert.started_at.isoformat(), document),
            )
            db.execute("DELETE FROM deliveries WHERE alert = ?", (alert.id,))
            due = [
                (alert.id, delivery.channel, delivery.due_at.timestamp(), delivery.attempts)
                for delivery in alert.notifications.deliveries or ()
                if delivery.due_at
            ]
            db.executemany("INSERT INTO deliveries VALUES (?, ?, ?, ?)", due)
        return True

    def alert(self, alert_id: str) -> Alert | None:
        with self._db.reading() as db:
            return self._stored(db, alert_id)

    def alerts(self, *, open_only: bool = False, limit: int = 1000) -> list[Alert]:
        query = "SELECT id, document FROM alerts WHERE open >= ? ORDER BY started DESC, id LIMIT ?"
        with self._db.reading() as db:
            return list(_readable(db.execute(query, (open_only, min(limit, MOST_ROWS)))))

    def due_alerts(self, channel: str, now: datetime, limit: int) -> list[Alert]:
        query = """SELECT id, document FROM deliveries JOIN alerts ON alert = id WHERE channel = ? AND due <= ?
            ORDER BY attempts, started, id LIMIT ?"""
        with self._db.reading() as db:
            return list(_readable(db.execute(query, (channel, now.timestamp(), limit))))

    def unsettled_alerts(self) -> Iterator[Alert]:
        query = """SELECT id, document FROM alerts WHERE open OR json_array_length(document, '$.pending') > 0
            ORDER BY started, id"""
        with self._db.reading() as db:
            rows = db.execute(query).fetchall()
        return _readable(rows)

    def open_alerts(self) -> dict[str, int]:
        query = """SELECT json_extract(document, '$.severity'), json_extract(document, '$.unnotified') FROM alerts
            WHERE open"""
        with self._db.reading() as db:
            rows = db.execute(query).fetchall()
        counted = {severity: sum(row[0] == severity for row in rows) for severity in ("warning", "critical")}
        return {**counted, "unnotified": sum(bool(row[1]) for row in rows)}

    @staticmethod
    def _stored(db: sqlite3.Connection, alert_id: str) -> Alert | None:
        row = db.execute("SELECT document FROM alerts WHERE id = ?", (alert_id,)).fetchone()
        return stored_alert(alert_id, json.loads(row[0])) if row else None


def _readable(rows: Iterable[tuple[str, str]]) -> Iterator[Alert]:
    return skip_unreadable("alerts in the store", rows, lambda row: Alert.from_json(row[0], json.loads(row[1])))
