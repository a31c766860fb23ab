"""Observations from verdicts and series from counts, for both lanes. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import numpy as np

from pipeline.alerting.counting.table import Counts, CountTable, Sums
from pipeline.alerting.detection.verdicts import Estimate, Verdicts
from pipeline.alerting.evaluation.episodes import Observation
from pipeline.domain.alert_evidence import Series
from pipeline.domain.counting import BUCKET_S, Scope

#: An alert shows a day, in half-hours.
_STEPS, _STEP_BUCKETS = 48, 6


def observation_of(
    verdicts: Verdicts, row: int, at: datetime, bucket_s: int = BUCKET_S, estimate: Estimate | None = None
) -> Observation:
    """The verdict on one key at the end `at` of a bucket of `bucket_s` seconds; `estimate` if it is estimated."""
    observation = Observation(
        at=at,
        score=round(float(verdicts.score[row]), 3),
        posts=int(verdicts.posts[row]),
        observed=round(float(verdicts.observed[row])),
        expected=round(float(verdicts.expected[row]), 2),
        baseline=round(float(verdicts.baseline[row]), 4),
        window_s=int(verdicts.window[row]) * bucket_s,
        cold=bool(verdicts.cold[row]),
    )
    if estimate is None:
        return observation
    return replace(
        observation,
        counted=estimate.counted,
        share_low=round(estimate.share_low, 4),
        share_high=round(estimate.share_high, 4),
        negative_mean=round(estimate.negative_mean, 4),
        other_mean=round(estimate.other_mean, 4),
    )


def series_of(
    table: CountTable,
    scope: Scope,
    column: int,
    negatives_of: Callable[[Counts, Counts, Sums], Counts | Sums] | None = None,
) -> Series:
    """The last day of a key before `column`; shorter where the table is.

    `negatives_of` gives the negatives among posts with these labels and sums of scores; without it the labels count.
    """
    row = table.row(scope)
    rows = [] if row is None else [row]
    steps = min(_STEPS, column // _STEP_BUCKETS)
    columns = slice(column - steps * _STEP_BUCKETS, column)
    posts, negatives, score_sums = (
        counts[rows, columns].sum(0).reshape(steps, _STEP_BUCKETS).sum(1)
        for counts in (table.posts, table.negatives, table.score_sums)
    )
    if negatives_of is not None and rows:
        negatives = np.clip(negatives_of(posts, negatives, score_sums), 0, posts).round(1)
    end = int(table.time_of(column).timestamp())
    return Series(end, _STEP_BUCKETS * BUCKET_S, tuple(posts.tolist()), tuple(negatives.tolist()))
