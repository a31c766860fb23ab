"""Observations from verdicts and series from counts, for both lanes. Pure."""

from __future__ import annotations

from datetime import datetime

from pipeline.alerting.counting.table import CountTable
from pipeline.alerting.detection.verdicts import Verdicts
from pipeline.alerting.evaluation.episodes import Observation
from pipeline.domain.alert_evidence import Series
from pipeline.domain.counting import BUCKET_S, Scope

#: An alert shows a day, in half-hours.
_STEPS, _STEP_BUCKETS = 48, 6


def observation_of(verdicts: Verdicts, row: int, at: datetime, bucket_s: int = BUCKET_S) -> Observation:
    """The verdict on one key at the end `at` of a bucket of `bucket_s` seconds."""
    return Observation(
        at=at,
        score=round(float(verdicts.score[row]), 3),
        posts=int(verdicts.posts[row]),
        observed=int(verdicts.observed[row]),
        expected=round(float(verdicts.expected[row]), 2),
        baseline=round(float(verdicts.baseline[row]), 4),
        window_s=int(verdicts.window[row]) * bucket_s,
        cold=bool(verdicts.cold[row]),
    )


def series_of(table: CountTable, scope: Scope, column: int) -> Series:
    """The last day of a key before `column`; shorter where the table is."""
    row = table.row(scope)
    rows = [] if row is None else [row]
    steps = min(_STEPS, column // _STEP_BUCKETS)
    columns = slice(column - steps * _STEP_BUCKETS, column)
    posts, negatives = (
        tuple(counts[rows, columns].sum(0).reshape(steps, _STEP_BUCKETS).sum(1).tolist())
        for counts in (table.posts, table.negatives)
    )
    return Series(int(table.time_of(column).timestamp()), _STEP_BUCKETS * BUCKET_S, posts, negatives)
