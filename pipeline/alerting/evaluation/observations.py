"""What both lanes read off the counts and the verdicts. Pure."""

from __future__ import annotations

from dataclasses import astuple
from datetime import datetime

from pipeline.alerting.counting.table import CountTable
from pipeline.alerting.detection.negative_share import Verdicts
from pipeline.alerting.evaluation.episodes import Observation
from pipeline.domain.alert_evidence import Series
from pipeline.domain.counting import BUCKET_S, Scope

#: An alert shows a day, in half-hours.
_STEPS, _STEP_BUCKETS = 48, 6


def observation_of(v: Verdicts, row: int, at: datetime) -> Observation:
    """The verdict on one key at the end `at` of a bucket."""
    return Observation(
        at=at,
        score=round(float(v.score[row]), 3),
        posts=int(v.posts[row]),
        observed=int(v.negatives[row]),
        expected=round(float(v.expected[row]), 2),
        baseline=round(float(v.baseline[row]), 4),
        window_s=int(v.window[row]) * BUCKET_S,
        cold=bool(v.cold[row]),
    )


def series_of(table: CountTable, scope: Scope, right: int) -> Series:
    """The last day of a key up to column `right`; shorter where the table is."""
    row = table.row(scope)
    rows = [] if row is None else [row]
    steps = min(_STEPS, right // _STEP_BUCKETS)
    columns = slice(right - steps * _STEP_BUCKETS, right)
    posts, negatives = (
        tuple(a[rows, columns].sum(0).reshape(steps, _STEP_BUCKETS).sum(1).tolist())
        for a in (table.posts, table.negatives)
    )
    return Series(int(table.time_of(right).timestamp()), _STEP_BUCKETS * BUCKET_S, posts, negatives)


def shared_scope(one: Scope, other: Scope) -> Scope | None:
    """The posts of both keys as a key; None where there are none (two topics) or nobody knows (two subjects)."""
    pairs = list(zip(astuple(one), astuple(other), strict=True))
    return None if any(a and b and a != b for a, b in pairs) else Scope(*(a or b for a, b in pairs))


def beyond(table: CountTable, scope: Scope, other: Scope, columns: slice) -> tuple[int, int] | None:
    """Posts and negatives of key `scope` that are not those of key `other` too; None where nobody knows.

    Where the posts of both are not counted (a subject's within a topic and a source), so many at most: those that what
    the two have in common, the subject, has beyond `other`.
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
    posts, negatives = (
        min(int(a[mine, columns].sum()), int((a[whole, columns] - a[part, columns]).sum()))
        for a in (table.posts, table.negatives)
    )
    return posts, negatives
