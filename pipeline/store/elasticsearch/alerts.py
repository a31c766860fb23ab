"""Alert documents in Elasticsearch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from models.json_types import JsonObject
from pipeline.domain.alert import Alert
from pipeline.domain.errors import Transient
from pipeline.domain.unreadable import skip_unreadable
from pipeline.store.alert_documents import stored_alert
from pipeline.store.elasticsearch import templates as names
from pipeline.store.elasticsearch.connection import MAX_ATTEMPTS, Connection
from pipeline.store.elasticsearch.queries import all_of
from pipeline.store.elasticsearch.stored import Hit


class ElasticsearchAlerts:
    """Implements `AlertStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put_alert(self, alert: Alert) -> bool:
        for _ in range(MAX_ATTEMPTS):
            there = self._connection.get(names.ALERTS, alert.id)
            if there and not alert.may_replace(stored_alert(alert.id, there.source)):
                return False
            if self._connection.put(names.ALERTS, alert.id, alert.to_json(), there):
                return True
        raise Transient(f"alert {alert.id} was changed by others during {MAX_ATTEMPTS} attempts to write it")

    def alert(self, alert_id: str) -> Alert | None:
        found = self._connection.get(names.ALERTS, alert_id)
        return stored_alert(alert_id, found.source) if found else None

    def alerts(self, *, open_only: bool = False, limit: int = 1000) -> list[Alert]:
        query = {"term": {"state": "open"}} if open_only else {"match_all": {}}
        return list(_readable(self._connection.hits(names.ALERTS, limit, query=query, sort=[{"started_at": "desc"}])))

    def due_alerts(self, channel: str, now: datetime, limit: int) -> list[Alert]:
        mine: JsonObject = {"term": {"notifications.channel": channel}}
        due = [mine, {"range": {"notifications.due_at": {"lte": now.isoformat()}}}]
        attempts = {"order": "asc", "nested": {"path": "notifications", "filter": mine}}
        hits = self._connection.hits(
            names.ALERTS,
            limit,
            query={"nested": {"path": "notifications", "query": all_of(due)}},
            sort=[{"notifications.attempts": attempts}, {"started_at": "asc"}],
        )
        return list(_readable(hits))

    def unsettled_alerts(self) -> Iterator[Alert]:
        either = [{"term": {"state": "open"}}, {"exists": {"field": "pending"}}]
        hits = self._connection.scan(
            names.ALERTS, query={"bool": {"should": either, "minimum_should_match": 1}}, sort=[{"started_at": "asc"}]
        )
        return _readable(hits)

    def open_alerts(self) -> dict[str, int]:
        kinds = {
            **{severity: {"term": {"severity": severity}} for severity in ("warning", "critical")},
            "unnotified": {
                "bool": {"must": {"exists": {"field": "unnotified"}}, "must_not": {"term": {"unnotified": ""}}}
            },
        }
        answer = self._connection.search(
            index=names.ALERTS,
            query={"term": {"state": "open"}},
            size=0,
            aggs={"kinds": {"filters": {"filters": kinds}}},
        )
        found = answer.get("aggregations", {}).get("kinds", {}).get("buckets", {})
        return {kind: int(found.get(kind, {}).get("doc_count", 0)) for kind in kinds}


def _readable(hits: Iterable[Hit]) -> Iterator[Alert]:
    return skip_unreadable("alerts in the store", hits, lambda hit: Alert.from_json(hit.id, hit.source))
