"""Alert documents in SQLite, and a row per delivery that is due."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from pipeline.store.protocol import may_replace
from pipeline.store.sqlite.database import MOST_ROWS, Database


class SqliteAlerts:
    """Implements `AlertStore`."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def put_alert(self, alert_id: str, document: Mapping[str, Any]) -> bool:
        with self._db.writing() as db:
            there = db.execute("SELECT document FROM alerts WHERE id = ?", (alert_id,)).fetchone()
            if there and not may_replace(json.loads(there[0]), document):
                return False
            db.execute(
                "INSERT OR REPLACE INTO alerts VALUES (?, ?, ?, ?)",
                (
                    alert_id,
                    document["state"] == "open",
                    document["started_at"],
                    json.dumps(document, ensure_ascii=False),
                ),
            )
            db.execute("DELETE FROM deliveries WHERE alert = ?", (alert_id,))
            due = [
                (alert_id, d["channel"], datetime.fromisoformat(d["due_at"]).timestamp(), d.get("attempts", 0))
                for d in document.get("notifications") or ()
                if d.get("due_at")
            ]
            db.executemany("INSERT INTO deliveries VALUES (?, ?, ?, ?)", due)
        return True

    def alert(self, alert_id: str) -> dict[str, Any] | None:
        with self._db.reading() as db:
            row = db.execute("SELECT document FROM alerts WHERE id = ?", (alert_id,)).fetchone()
        return {**json.loads(row[0]), "id": alert_id} if row else None

    def alerts(self, *, open_only: bool = False, limit: int = 1000) -> list[dict[str, Any]]:
        query = "SELECT id, document FROM alerts WHERE open >= ? ORDER BY started DESC, id LIMIT ?"
        with self._db.reading() as db:
            return [{**json.loads(d), "id": key} for key, d in db.execute(query, (open_only, min(limit, MOST_ROWS)))]

    def due_alerts(self, channel: str, now: datetime, limit: int) -> list[dict[str, Any]]:
        query = """SELECT id, document FROM deliveries JOIN alerts ON alert = id WHERE channel = ? AND due <= ?
            ORDER BY attempts, started, id LIMIT ?"""
        with self._db.reading() as db:
            return [{**json.loads(d), "id": key} for key, d in db.execute(query, (channel, now.timestamp(), limit))]

    def unsettled_alerts(self) -> Iterator[dict[str, Any]]:
        query = """SELECT id, document FROM alerts WHERE open OR json_array_length(document, '$.pending') > 0
            ORDER BY started, id"""
        with self._db.reading() as db:
            rows = db.execute(query).fetchall()
        return ({**json.loads(document), "id": key} for key, document in rows)

    def open_alerts(self) -> dict[str, int]:
        query = """SELECT json_extract(document, '$.severity'), json_extract(document, '$.unnotified') FROM alerts
            WHERE open"""
        with self._db.reading() as db:
            rows = db.execute(query).fetchall()
        counted = {severity: sum(row[0] == severity for row in rows) for severity in ("warning", "critical")}
        return {**counted, "unnotified": sum(bool(row[1]) for row in rows)}
