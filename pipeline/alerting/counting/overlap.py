"""The posts that two keys have in common, as far as the counts show. Pure."""

from __future__ import annotations

from dataclasses import astuple
from typing import NamedTuple

from pipeline.alerting.counting.table import CountTable
from pipeline.domain.counting import Scope


class Outside(NamedTuple):
    """The posts of a key that do not belong to another, their negatives and the sum of their scores."""

    posts: int
    negatives: int
    score_sum: float


def shared_scope(one: Scope, other: Scope) -> Scope | None:
    """The key of the posts that both keys hold; None where there are none (two topics) or none are counted (two
    subjects).
    """
    pairs = list(zip(astuple(one), astuple(other), strict=True))
    return None if any(a and b and a != b for a, b in pairs) else Scope(*(a or b for a, b in pairs))


def counts_outside(
    table: CountTable, scope: Scope, other: Scope, columns: slice, *, alike: bool = True
) -> Outside | None:
    """What of key `scope` does not belong to key `other` as well; None where the table cannot tell.

    The table does not count the posts that a subject has in a topic and in a source at once. There the result is an
    upper bound: the posts that the subject, which both keys name, has outside `other`.

    Where the keys are not `alike`, negative means something else in each: negative as a text in a topic, and toward the
    subject in a subject. How many of the shared posts are negative as texts is not counted there, so each of them is
    taken for one, and the result is a lower bound.
    """
    shared = shared_scope(scope, other)
    mine, theirs = table.row(scope), table.row(other)
    if shared is None or mine is None or theirs is None:
        return None
    whole, part = mine, table.row(shared)
    if part is None:
        common = Scope(*(a if a == b else "" for a, b in zip(astuple(scope), astuple(other), strict=True)))
        parent, part = table.row(common), theirs
        if parent is None:
            return None
        whole = parent
    posts, negatives, score_sum = (
        max(0, min(counts[mine, columns].sum(), (counts[whole, columns] - shared_counts[part, columns]).sum()))
        for counts, shared_counts in (
            (table.posts, table.posts),
            (table.negatives, table.negatives if alike else table.posts),
            (table.score_sums, table.score_sums if alike else table.posts),
        )
    )
    # A voice may count for the one key and not for the other, so the difference need not be the counts of any posts.
    return Outside(int(posts), int(min(negatives, posts)), float(min(score_sum, posts)))
