"""Annotations in Elasticsearch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.domain.annotation import Annotation
from pipeline.domain.unreadable import skip_unreadable
from pipeline.store.elasticsearch import templates as names
from pipeline.store.elasticsearch.bulk import ItemVerdict
from pipeline.store.elasticsearch.connection import Connection


class ElasticsearchAnnotations:
    """Implements `AnnotationStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put_annotations(self, annotations: Sequence[Annotation]) -> None:
        self._connection.bulk([[{"index": {"_index": names.LABELS, "_id": x.id}}, x.to_json()] for x in annotations])
        self._connection.call(lambda es: es.indices.refresh(index=names.LABELS))

    def annotations(self) -> Iterator[Annotation]:
        hits = self._connection.scan(names.LABELS, query={"match_all": {}}, sort=[{"at": "asc"}])
        return skip_unreadable("labels in the store", hits, lambda hit: Annotation.from_json(hit.source))

    def drop_annotations(self, annotations: Sequence[Annotation]) -> int:
        dropped = self._connection.bulk([[{"delete": {"_index": names.LABELS, "_id": x.id}}] for x in annotations])
        self._connection.call(lambda es: es.indices.refresh(index=names.LABELS))
        return dropped.count(ItemVerdict.WRITTEN)
