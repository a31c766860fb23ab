"""States in Elasticsearch: one document per name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from models.json_reader import JsonReader
from models.json_types import JsonObject
from pipeline.domain.errors import Transient
from pipeline.domain.states import StateKey, T
from pipeline.store.closed_days import invalidation_tokens
from pipeline.store.elasticsearch import templates as names
from pipeline.store.elasticsearch.bulk import ItemVerdict
from pipeline.store.elasticsearch.connection import MAX_ATTEMPTS, Connection
from pipeline.store.elasticsearch.stored import StoredDocument


class ElasticsearchStates:
    """Implements `StateStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put_state(self, key: StateKey[T], value: T) -> None:
        self._connection.call(lambda es: es.index(index=names.STATE, id=_id(key), document=_document(key, value)))

    def swap_state(self, key: StateKey[T], before: T | None, value: T) -> bool:
        for _ in range(MAX_ATTEMPTS):
            there = self._connection.get(names.STATE, _id(key))
            known = _read(key, there)
            if known != before:
                return known == value
            if self._connection.put(names.STATE, _id(key), _document(key, value), there):
                return True
        raise Transient(f"state {key.name} was changed by others during {MAX_ATTEMPTS} attempts to write it")

    def state(self, key: StateKey[T]) -> T | None:
        return _read(key, self._connection.get(names.STATE, _id(key)))

    def states(self, keys: Sequence[StateKey[T]]) -> dict[StateKey[T], T]:
        if not keys:
            return {}
        entries = self._connection.entries([{"_index": names.STATE, "_id": _id(key)} for key in keys])
        found = {key: _read(key, entry) for key, entry in zip(keys, entries, strict=True)}
        return {key: state for key, state in found.items() if state is not None}

    def invalidate_days(self, times: Iterable[datetime], now: datetime) -> None:
        """Gives every closed day in `times` a new invalidation token."""
        tokens = invalidation_tokens(times, now)
        done = self._connection.bulk(
            [[{"index": {"_index": names.STATE, "_id": _id(key)}}, _document(key, t)] for key, t in tokens.items()]
        )
        if done.count(ItemVerdict.WRITTEN) < len(tokens):
            raise Transient(
                f"store {self._connection.url} did not take the invalidation tokens of {len(tokens)} closed days",
                retry_after_s=1.0,
            )


def _id(key: StateKey[T]) -> str:
    return f"state-{key.name}"


def _read(key: StateKey[T], stored: StoredDocument | None) -> T | None:
    return key.read(JsonReader(stored.source).object("value")) if stored else None


def _document(key: StateKey[T], value: T) -> JsonObject:
    return {"kind": "state", "name": key.name, "value": key.encode(value)}
