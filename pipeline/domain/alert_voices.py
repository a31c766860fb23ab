"""The counts of an alert with and without its loudest voices. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from models.json_reader import JsonReader
from models.json_types import JsonObject


@dataclass(frozen=True, slots=True)
class LoudestVoices:
    """How many authors and families of near-copies are loudest in the window of the peak, and what they change.

    `posts` and `negatives` count every post of the window. The other two counts leave out all posts of these voices.
    """

    authors: int
    families: int
    posts: int
    negatives: int
    posts_without: int
    negatives_without: int

    def to_json(self) -> JsonObject:
        return asdict(self)

    @classmethod
    def from_json(cls, value: JsonObject) -> LoudestVoices:
        fields = JsonReader(value)
        return cls(
            fields.whole("authors"),
            fields.whole("families"),
            fields.whole("posts"),
            fields.whole("negatives"),
            fields.whole("posts_without"),
            fields.whole("negatives_without"),
        )
