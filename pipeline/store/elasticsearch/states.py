"""States in Elasticsearch: one document per name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pipeline.domain.errors import Transient
from pipeline.store.closed_days import invalidation_tokens
from pipeline.store.elasticsearch import templates as names
from pipeline.store.elasticsearch.bulk import ItemVerdict
from pipeline.store.elasticsearch.connection import MAX_ATTEMPTS, Connection, unchanged


class ElasticsearchStates:
    """Implements `StateStore`."""

    def __init__(self, connection: Connection) -> None:
        self._c = connection

    def put_state(self, name: str, value: Mapping[str, Any]) -> None:
        self._c.call(lambda es: es.index(index=names.STATE, id=f"state-{name}", document=_state(name, value)))

    def swap_state(self, name: str, before: Mapping[str, Any] | None, value: Mapping[str, Any]) -> bool:
        for _ in range(MAX_ATTEMPTS):
            there = self._c.get(names.STATE, f"state-{name}")
            known = there["_source"]["value"] if there else None
            if known != before:
                return bool(known == value)
            if self._c.put(names.STATE, f"state-{name}", _state(name, value), **unchanged(there)):
                return True
        raise Transient(f"state {name} changes all the time")

    def state(self, name: str) -> dict[str, Any] | None:
        found = self._c.get(names.STATE, f"state-{name}")
        return dict(found["_source"]["value"]) if found else None

    def states(self, wanted: Sequence[str]) -> dict[str, dict[str, Any]]:
        if not wanted:
            return {}
        found = self._c.entries([{"_index": names.STATE, "_id": f"state-{name}"} for name in wanted])
        return {
            name: dict(document["_source"]["value"])
            for name, document in zip(wanted, found, strict=True)
            if document.get("found")
        }

    def invalidate_days(self, times: Iterable[datetime], now: datetime) -> None:
        states = invalidation_tokens(times, now)
        done = self._c.bulk(
            [[{"index": {"_index": names.STATE, "_id": f"state-{n}"}}, _state(n, value)] for n, value in states.items()]
        )
        if done.count(ItemVerdict.WRITTEN) < len(states):
            raise Transient(f"store {self._c.url} did not take the marks of {len(states)} days", retry_after_s=1.0)


def _state(name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": "state", "name": name, "value": dict(value)}
