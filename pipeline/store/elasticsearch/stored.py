"""What Elasticsearch gives back: documents, hits of a search, and installed index templates. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.json_reader import JsonReader
from models.json_types import Json, JsonObject


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document as last written; its two numbers change with every write."""

    source: JsonObject
    seq_no: int
    primary_term: int

    @classmethod
    def from_json(cls, entry: JsonObject) -> StoredDocument | None:
        """Reads an entry of a request for several documents; None for a document that does not exist."""
        fields = JsonReader(entry)
        if not fields.flag("found", default=False):
            return None
        return cls(fields.object("_source"), fields.whole("_seq_no", 0), fields.whole("_primary_term", 0))


@dataclass(frozen=True, slots=True)
class Hit:
    """A document that a search found, with its values by which it is sorted.

    Its `source` and the values of its `fields` are empty if the search did not ask for them.
    """

    id: str
    source: JsonObject
    fields: JsonObject
    sort: Sequence[Json]

    @classmethod
    def from_json(cls, hit: JsonObject) -> Hit:
        parts = JsonReader(hit)
        return cls(parts.text("_id"), parts.object("_source"), parts.object("fields"), parts.items("sort"))


@dataclass(frozen=True, slots=True)
class IndexTemplate:
    """The index patterns, the priority and the `_meta` of an installed template."""

    patterns: tuple[str, ...]
    priority: int
    meta: JsonObject

    @classmethod
    def from_json(cls, template: JsonObject) -> IndexTemplate:
        fields = JsonReader(template)
        return cls(fields.texts("index_patterns"), fields.whole("priority", 0), fields.object("_meta"))

    @property
    def schema(self) -> int:
        """The number of the document format that setup wrote into the template."""
        return JsonReader(self.meta).whole("schema", 1)
