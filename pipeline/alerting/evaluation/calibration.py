"""Thresholds from the index's own past: the rule runs over the last weeks, without confirmed alerts. Blocking."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from pipeline.alerting.counting.count_cache import CountCache
from pipeline.alerting.counting.history import CountHistory
from pipeline.alerting.counting.table import is_watched, key_name, scopes_of
from pipeline.alerting.detection.negative_share import DetectorConfig
from pipeline.alerting.detection.thresholds import Calibration
from pipeline.alerting.evaluation.backtest import ScoreHistory, calibrate, negative_scores
from pipeline.alerting.evaluation.confirmed import AFTER, without
from pipeline.alerting.evaluation.score_models import score_models
from pipeline.domain.alert import NEGATIVE
from pipeline.domain.counting import BUCKET_S, NegativeDefinition, Scope, bucket_start
from pipeline.domain.errors import EXIT_UNAVAILABLE, Fatal
from pipeline.domain.operator_state import OperatorState, operator_key
from pipeline.domain.states import SERVED_MODEL
from pipeline.store.protocol import EvaluationStore, NotificationStore, PostStore

DAYS = 28
LEAST = timedelta(days=14)
#: The calibration only learns from the first week of the history, because its keys are cold.
WARM_UP = timedelta(days=7)
#: A calibration reads at most this many keys; the others get the threshold of their tier.
MAX_KEYS = 1000
#: A tier with fewer key-weeks keeps the threshold of the settings: a rate of 0.1 is not measurable on less.
LEAST_KEY_WEEKS = 20.0


def calibrate_on_index(
    store: EvaluationStore,
    counts: CountCache,
    config: DetectorConfig,
    target: float,
    definition: NegativeDefinition,
    on_progress: Callable[[float], None] = lambda _: None,
) -> Calibration:
    """Thresholds with at most `target` episodes per key-week over the last `DAYS` days.

    Acknowledged alerts were real and do not count, unless somebody marked them as false alarms. `on_progress` is
    called with the finished share, in [0, 1]. Raises `Fatal` (69) where the index holds less than `LEAST`.
    """
    store.refresh()
    bounds = extent(store)
    if bounds is None or bounds[1] - bounds[0] < LEAST:
        held = "nothing" if bounds is None else f"{(bounds[1] - bounds[0]) / timedelta(days=1):.1f} days"
        raise Fatal(
            f"calibration needs {LEAST.days} days of posts, the index holds {held}",
            "wait; until then alerts.fire is the threshold",
            EXIT_UNAVAILABLE,
        )
    end = datetime.fromtimestamp(bucket_start(bounds[1].timestamp()), UTC)
    start = max(end - timedelta(days=DAYS), bounds[0])
    history = history_of(counts, start, end)
    served = store.state(SERVED_MODEL)
    models = score_models(served.prevalence if served else {}, definition)
    scores = leave_out_confirmed(store, history, negative_scores(history, config, on_progress, models))
    first = int(WARM_UP.total_seconds()) // BUCKET_S
    found = calibrate(history.since(first), scores.since(first), target)
    return Calibration(end, target, {tier: t for tier, t in found.items() if t.key_weeks >= LEAST_KEY_WEEKS})


def extent(store: PostStore, now: datetime | None = None) -> tuple[datetime, datetime] | None:
    """From the first event time of the index to just after the last.

    Posts that are dated after `now` (the clock) do not count. Where all posts are, the clock itself must be wrong.
    """
    bounds, now = store.bounds(), now or datetime.now(UTC)
    if bounds is None:
        return None
    return bounds[0], (bounds[1] if bounds[0] > now else min(bounds[1], now)) + timedelta(microseconds=1)


def history_of(counts: CountCache, start: datetime, end: datetime) -> CountHistory:
    """The counts of at most `MAX_KEYS` keys of the index, in whole buckets of `BUCKET_S` from `start` to before `end`.

    Raises `Fatal` (69) where the index has no post to count in that time.
    """
    first = bucket_start(start.timestamp())
    n_buckets = (int((end - timedelta(microseconds=1)).timestamp()) - first) // BUCKET_S + 1
    end = datetime.fromtimestamp(first + n_buckets * BUCKET_S, UTC)
    named: dict[str, Scope] = {}
    posts: dict[str, np.ndarray[Any, np.dtype[np.int64]]] = {}
    negatives: dict[str, np.ndarray[Any, np.dtype[np.int64]]] = {}
    score_sums: dict[str, np.ndarray[Any, np.dtype[np.float64]]] = {}
    for _, _, cells in counts.days(datetime.fromtimestamp(first, UTC), end):
        for cell in cells:
            for scope in filter(is_watched, scopes_of(cell)):
                key = key_name(scope)
                if key not in posts:
                    if len(posts) >= MAX_KEYS:
                        continue
                    named[key] = scope
                    posts[key], negatives[key] = np.zeros((2, n_buckets), np.int64)
                    score_sums[key] = np.zeros(n_buckets)
                at = (cell.bucket - first) // BUCKET_S
                posts[key][at] += cell.posts
                negatives[key][at] += cell.negatives
                score_sums[key][at] += cell.score_sum
    if not posts:
        raise Fatal(
            f"the index has no post to count from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC",
            "ask for more days with --days, or wait for posts (reposts do not count)",
            EXIT_UNAVAILABLE,
        )
    keys = tuple(sorted(posts))
    return CountHistory(
        keys,
        datetime.fromtimestamp(first, UTC),
        BUCKET_S,
        np.stack([posts[k] for k in keys]),
        np.stack([negatives[k] for k in keys]),
        scopes=named,
        score_sums=np.stack([score_sums[k] for k in keys]),
    )


def leave_out_confirmed(store: NotificationStore, history: CountHistory, scores: ScoreHistory) -> ScoreHistory:
    """The scores without those of acknowledged alerts and of the keys that these touched."""
    for alert in store.alerts():
        if alert.key not in history.keys or alert.lane != NEGATIVE:
            continue
        operator = store.state(operator_key(alert.id)) or OperatorState()
        if not operator.acknowledged_at or operator.false_alarm_at or alert.false_alarm:
            continue
        ended = alert.resolved_at or alert.updated_at
        scores = without(history, scores, alert.key, alert.started_at, ended + AFTER)
    return scores
