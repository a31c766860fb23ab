"""Progress per source partition and log in Elasticsearch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.domain.ledger import current
from pipeline.domain.progress import Progress
from pipeline.domain.readable import readable
from pipeline.store.elasticsearch import templates as names
from pipeline.store.elasticsearch.connection import Connection


class ElasticsearchProgress:
    """Implements `ProgressStore`."""

    def __init__(self, connection: Connection) -> None:
        self._c = connection

    def save_progress(self, progress: Sequence[Progress]) -> None:
        operations: list[list[dict[str, Any]]] = [
            [
                {
                    "index": {
                        "_index": names.STATE,
                        "_id": f"progress-{p.log_key}-{p.partition}",
                        "version": p.next_offset,
                        "version_type": "external_gte",
                    }
                },
                {"kind": "progress", "name": p.topic, "value": p.to_json()},
            ]
            for p in progress
        ]
        self._c.bulk(operations)

    def load_progress(self) -> dict[tuple[str, int], Progress]:
        return current(self.all_progress())

    def all_progress(self) -> list[Progress]:
        self._c.call(lambda es: es.indices.refresh(index=names.STATE))
        hits = self._c.search(index=names.STATE, query={"term": {"kind": "progress"}}, size=10_000)["hits"]["hits"]
        return list(readable("progress in the store", hits, lambda h: Progress.from_json(h["_source"]["value"])))
