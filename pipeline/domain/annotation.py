"""What a person said about a text."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from datetime import datetime

from models.json_reader import JsonReader
from models.json_types import JsonObject


@dataclass(frozen=True, slots=True)
class Annotation:
    """A person gave `text` the class `label` of `head`.

    `post` is the id of the indexed document, or the content hash of a text that is not indexed. `suggested` is the
    class that `model` had given it; both are empty if no model had.
    """

    post: str
    head: str
    label: str
    annotator: str
    at: datetime
    text: str
    source: str = ""
    lang: str = ""
    suggested: str = ""
    model: str = ""

    @property
    def id(self) -> str:
        """The same for every annotation of a text and head by one annotator: the newest replaces the others."""
        return hashlib.sha256("\x00".join((self.post, self.head, self.annotator)).encode()).hexdigest()

    def to_json(self) -> JsonObject:
        return {**asdict(self), "at": self.at.isoformat()}

    @classmethod
    def from_json(cls, value: JsonObject) -> Annotation:
        """Ignores fields that it does not know; raises `ValueError` if one is missing."""
        fields = JsonReader(value)
        try:
            return cls(
                post=fields.text("post"),
                head=fields.text("head"),
                label=fields.text("label"),
                annotator=fields.text("annotator"),
                at=fields.time("at"),
                text=fields.text("text"),
                source=fields.text("source", ""),
                lang=fields.text("lang", ""),
                suggested=fields.text("suggested", ""),
                model=fields.text("model", ""),
            )
        except (KeyError, ValueError) as error:
            raise ValueError(f"not an annotation: {error}") from None
