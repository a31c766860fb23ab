"""Counts in which no voice is loud: one author, or one family of near-copies, counts at most a few posts per key. Pure.

The key of a topic, of a subject or of a source counts the first posts of each voice in every window of `WINDOW_S`
(windows begin at midnight, 6, 12 and 18 UTC), and leaves out the others, negative or not. What is left out of a
subject is left out of the subject in each topic and source as well, so that the parts of a subject still add up to the
whole. A post without an author belongs to its families only.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from pipeline.domain.counting import Cell, Scope
from pipeline.domain.voices import Negativity, VoicePost

WINDOW_S = 6 * 3600


class _Place(NamedTuple):
    """The bucket, topic, subject and source that identify a cell."""

    bucket: int
    topic: str
    subject: str
    source: str


class _LeftOut:
    """Posts, negatives and the sum of the negative scores that a cell leaves out."""

    __slots__ = ("negatives", "posts", "score_sum")

    def __init__(self) -> None:
        self.posts, self.negatives, self.score_sum = 0, 0, 0.0

    def add(self, post: Negativity) -> None:
        self.posts += 1
        self.negatives += post.negative
        self.score_sum += post.score

    def of(self, cell: Cell) -> Cell:
        """The cell without them."""
        posts = max(0, cell.posts - self.posts)
        return replace(
            cell,
            posts=posts,
            negatives=min(posts, max(0, cell.negatives - self.negatives)),
            score_sum=min(float(posts), max(0.0, cell.score_sum - self.score_sum)),
        )


def window_start(epoch_s: int) -> int:
    """The start of the window that contains a moment, both in seconds since the epoch."""
    return epoch_s - epoch_s % WINDOW_S


def capped(cells: Iterable[Cell], posts: Iterable[VoicePost], most: int, sources: Collection[str] = ()) -> list[Cell]:
    """The cells, in which each voice counts at most `most` posts per key and window.

    `posts` are all posts of the windows whose voices may be louder than that. `sources` have cells of their own. A
    cell that is left without a post stays.
    """
    left_out: defaultdict[_Place, _LeftOut] = defaultdict(_LeftOut)
    counted: Counter[tuple[int, Scope, str]] = Counter()
    for post in sorted({post.id: post for post in posts}.values(), key=lambda post: (post.bucket, post.id)):
        for scope in _single_scopes(post, sources):
            taken = [(window_start(post.bucket), scope, voice) for voice in post.voices]
            if all(counted[one] < most for one in taken):
                counted.update(taken)
                continue
            for place in _places(post, scope, sources):
                left_out[place].add(post.read_for(scope))
    found = ((cell, left_out.get(_Place(cell.bucket, cell.topic, cell.subject, cell.source))) for cell in cells)
    return [loud.of(cell) if loud else cell for cell, loud in found]


def _single_scopes(post: VoicePost, sources: Collection[str]) -> Iterator[Scope]:
    yield Scope(post.topic)
    for subject in post.toward:
        yield Scope("", subject)
    if post.source in sources:
        yield Scope("", "", post.source)


def _places(post: VoicePost, scope: Scope, sources: Collection[str]) -> Iterator[_Place]:
    """The cells that count a post for one of its keys."""
    if scope.source:
        yield _Place(post.bucket, post.topic, "", scope.source)
        return
    yield _Place(post.bucket, post.topic, scope.subject, "")
    if scope.subject and post.source in sources:
        yield _Place(post.bucket, "", scope.subject, post.source)
