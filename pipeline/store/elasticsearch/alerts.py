"""Alert documents in Elasticsearch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from pipeline.domain.errors import Transient
from pipeline.store.elasticsearch import templates as names
from pipeline.store.elasticsearch.connection import MAX_ATTEMPTS, Connection, unchanged
from pipeline.store.elasticsearch.queries import all_of
from pipeline.store.protocol import may_replace


class ElasticsearchAlerts:
    """Implements `AlertStore`."""

    def __init__(self, connection: Connection) -> None:
        self._c = connection

    def put_alert(self, alert_id: str, document: Mapping[str, Any]) -> bool:
        for _ in range(MAX_ATTEMPTS):
            there = self._c.get(names.ALERTS, alert_id)
            if there and not may_replace(there["_source"], document):
                return False
            if self._c.put(names.ALERTS, alert_id, document, **unchanged(there)):
                return True
        raise Transient(f"store {self._c.url}: alert {alert_id} changed during {MAX_ATTEMPTS} attempts to write it")

    def alert(self, alert_id: str) -> dict[str, Any] | None:
        found = self._c.get(names.ALERTS, alert_id)
        return {**found["_source"], "id": alert_id} if found else None

    def alerts(self, *, open_only: bool = False, limit: int = 1000) -> list[dict[str, Any]]:
        query = {"term": {"state": "open"}} if open_only else {"match_all": {}}
        hits = self._c.hits(names.ALERTS, limit, query=query, sort=[{"started_at": "desc"}])
        return [{**h["_source"], "id": h["_id"]} for h in hits]

    def due_alerts(self, channel: str, now: datetime, limit: int) -> list[dict[str, Any]]:
        mine: dict[str, Any] = {"term": {"notifications.channel": channel}}
        due = [mine, {"range": {"notifications.due_at": {"lte": now.isoformat()}}}]
        attempts = {"order": "asc", "nested": {"path": "notifications", "filter": mine}}
        hits = self._c.search(
            index=names.ALERTS,
            query={"nested": {"path": "notifications", "query": all_of(due)}},
            size=limit,
            sort=[{"notifications.attempts": attempts}, {"started_at": "asc"}],
        )["hits"]["hits"]
        return [{**h["_source"], "id": h["_id"]} for h in hits]

    def unsettled_alerts(self) -> Iterator[dict[str, Any]]:
        either = [{"term": {"state": "open"}}, {"exists": {"field": "pending"}}]
        hits = self._c.scan(
            names.ALERTS, query={"bool": {"should": either, "minimum_should_match": 1}}, sort=[{"started_at": "asc"}]
        )
        return ({**h["_source"], "id": h["_id"]} for h in hits)

    def open_alerts(self) -> dict[str, int]:
        kinds = {
            **{severity: {"term": {"severity": severity}} for severity in ("warning", "critical")},
            "unnotified": {
                "bool": {"must": {"exists": {"field": "unnotified"}}, "must_not": {"term": {"unnotified": ""}}}
            },
        }
        answer = self._c.search(
            index=names.ALERTS,
            query={"term": {"state": "open"}},
            size=0,
            aggs={"kinds": {"filters": {"filters": kinds}}},
        )
        found = answer.get("aggregations", {}).get("kinds", {}).get("buckets", {})
        return {kind: int(found.get(kind, {}).get("doc_count", 0)) for kind in kinds}
