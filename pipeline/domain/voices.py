"""Posts of loud voices: a voice is an author, or a family of near-copies. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pipeline.domain.counting import Scope


class Negativity(NamedTuple):
    """How a post counts: whether it is negative, and its negative score as the counts add it up."""

    negative: bool
    score: float


class VoicePost(NamedTuple):
    """A post of a loud voice, as far as the counts need it; `id` is that of its document.

    `whole` is how the post counts for its topic and its source, `toward` how it counts for each of its subjects.
    """

    id: str
    bucket: int
    topic: str
    source: str
    author: str
    families: tuple[str, ...]
    whole: Negativity
    toward: Mapping[str, Negativity]

    @property
    def voices(self) -> tuple[str, ...]:
        """The names of the author and of the families; none for a post that has neither."""
        return (*((f"author {self.author}",) if self.author else ()), *(f"family {name}" for name in self.families))

    def belongs_to(self, scope: Scope) -> bool:
        """Whether the key counts the post."""
        return (
            scope.topic in {"", self.topic}
            and scope.source in {"", self.source}
            and (not scope.subject or scope.subject in self.toward)
        )

    def read_for(self, scope: Scope) -> Negativity:
        """How the post counts for a key that it belongs to."""
        return self.toward[scope.subject] if scope.subject else self.whole
