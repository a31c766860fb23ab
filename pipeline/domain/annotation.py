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

    With a `subject`, the class is the sentiment toward it (`head` is `toward`), and `mention` are the characters of
    `text` that name it, if they are known.
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
    subject: str = ""
    mention: tuple[int, int] | None = None

    @property
    def id(self) -> str:
        """The same for each annotation of a text, head and subject by one annotator: the newest replaces the others."""
        subject = (self.subject,) if self.subject else ()
        return hashlib.sha256("\x00".join((self.post, self.head, self.annotator, *subject)).encode()).hexdigest()

    def to_json(self) -> JsonObject:
        written = {**asdict(self), "at": self.at.isoformat()}
        if not self.subject:
            del written["subject"]
        if self.mention is None:
            del written["mention"]
        return written

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
                subject=fields.text("subject", ""),
                mention=_span(fields.wholes("mention")),
            )
        except (KeyError, ValueError) as error:
            raise ValueError(f"not an annotation: {error}") from None


def _span(bounds: tuple[int, ...]) -> tuple[int, int] | None:
    if not bounds:
        return None
    start, end = bounds
    return start, end
