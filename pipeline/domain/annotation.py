"""What a person said about a text."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from datetime import datetime

from models.json_types import JsonObject
from pipeline.domain.known_fields import known_fields


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
        written: JsonObject = {**asdict(self), "at": self.at.isoformat()}
        if not self.subject:
            del written["subject"]
        if self.mention is None:
            del written["mention"]
        return written

    @classmethod
    def from_json(cls, value: JsonObject) -> Annotation:
        """Ignores fields that it does not know; raises `ValueError` if one is missing."""
        try:
            mention = {"mention": tuple(value["mention"])} if value.get("mention") else {}
            return cls(**{**known_fields(cls, value), "at": datetime.fromisoformat(value["at"]), **mention})
        except (KeyError, TypeError) as error:
            raise ValueError(f"not an annotation: {error}") from None
