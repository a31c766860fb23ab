"""Progress per source partition and log in Elasticsearch."""

from __future__ import annotations

from collections.abc import Sequence

from models.json_reader import JsonReader
from models.json_types import JsonObject
from pipeline.domain.ledger import current_progress
from pipeline.domain.progress import Progress
from pipeline.domain.unreadable import skip_unreadable
from pipeline.store.elasticsearch import templates as names
from pipeline.store.elasticsearch.connection import Connection, Operation
from pipeline.store.elasticsearch.stored import Hit


class ElasticsearchProgress:
    """Implements `ProgressStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def save_progress(self, progress: Sequence[Progress]) -> None:
        self._connection.bulk([_write(each) for each in progress])

    def load_progress(self) -> dict[tuple[str, int], Progress]:
        return current_progress(self.all_progress())

    def all_progress(self) -> list[Progress]:
        self._connection.call(lambda es: es.indices.refresh(index=names.STATE))
        answer = self._connection.search(index=names.STATE, query={"term": {"kind": "progress"}}, size=10_000)
        return list(skip_unreadable("progress in the store", answer["hits"]["hits"], _read))


def _read(hit: JsonObject) -> Progress:
    return Progress.from_json(JsonReader(Hit.from_json(hit).source).object("value"))


def _write(progress: Progress) -> Operation:
    target: JsonObject = {
        "_index": names.STATE,
        "_id": f"progress-{progress.log_key}-{progress.partition}",
        "version": progress.next_offset,
        "version_type": "external_gte",
    }
    return [{"index": target}, {"kind": "progress", "name": progress.topic, "value": progress.to_json()}]
