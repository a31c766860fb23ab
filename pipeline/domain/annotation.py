"""What a person said of a text."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from pipeline.domain.known_fields import known_fields


@dataclass(frozen=True, slots=True)
class Annotation:
    """What a person said of a text: class `label` of `head`.

    `post` is the id of the indexed document, or the content hash of a text that is not indexed. `suggested` is
    what the model `model` had said.
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
        """One label per text, head and annotator: the newest counts."""
        return hashlib.sha256("\x00".join((self.post, self.head, self.annotator)).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "at": self.at.isoformat()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Annotation:
        """Passes over fields that it does not know; raises `ValueError` where one is missing."""
        try:
            return cls(**{**known_fields(cls, value), "at": datetime.fromisoformat(value["at"])})
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a label: {error}") from None
