"""Where the mentions of subjects lie in the rows of tokens that the model reads. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from models.aligned_text import Span

#: The mentions of each subject in one text, as half-open ranges of its characters.
Mentions = Mapping[str, Sequence[Span]]
#: Of more mentions of one subject in a text, the first ones are judged.
MAX_MENTIONS = 16


class Place(NamedTuple):
    """The tokens from `start` to `end` (exclusive) of the row number `row`."""

    row: int
    start: int
    end: int


class Targets(NamedTuple):
    """The places of each subject of a text, in its rows and then in the additional rows `windows`.

    A subject without a place is in no row: the model can judge it only by the whole text.
    """

    places: Mapping[str, Sequence[Place]]
    windows: list[list[int]]


#: Of a text without mentions.
NO_TARGETS = Targets({}, [])


class Batch(NamedTuple):
    """Rows of tokens for one run of the graph, and the mentions in them."""

    rows: list[list[int]]
    mentions: list[Place]

    def halves(self) -> tuple[Batch, Batch]:
        """The first half of the rows with its mentions, and the second with its."""
        half = len(self.rows) // 2
        return (
            Batch(self.rows[:half], [place for place in self.mentions if place.row < half]),
            Batch(self.rows[half:], [p._replace(row=p.row - half) for p in self.mentions if p.row >= half]),
        )
