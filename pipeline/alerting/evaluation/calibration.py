"""Thresholds from the index's own past: the rule run over the last weeks, what people confirmed left out. Blocking."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from pipeline.alerting.counting.count_cache import CountCache
from pipeline.alerting.counting.history import History
from pipeline.alerting.counting.table import is_watched, key_name, scopes_of
from pipeline.alerting.detection.negative_share import DetectorConfig
from pipeline.alerting.detection.thresholds import Calibration, Threshold
from pipeline.alerting.evaluation.backtest import Scores, calibrate, negative_scores
from pipeline.alerting.evaluation.confirmed import AFTER, without
from pipeline.domain.alert import NEGATIVE
from pipeline.domain.counting import BUCKET_S, Scope
from pipeline.domain.errors import EXIT_UNAVAILABLE, Fatal
from pipeline.domain.operator_state import OperatorState, operator_key
from pipeline.store.protocol import EvaluationStore, NotificationStore, PostStore

DAYS = 28
LEAST = timedelta(days=14)
#: The first week of the history only teaches: its keys are cold.
WARM_UP = timedelta(days=7)
#: Keys beyond these are left out: their tier is calibrated on the others.
MAX_KEYS = 1000
#: Below so many key-weeks a tier keeps the threshold of the settings: a rate of .1 needs some to be seen at all.
LEAST_KEY_WEEKS = 20.0


def calibrate_on_index(
    store: EvaluationStore,
    counts: CountCache,
    rule: DetectorConfig,
    target: float,
    tell: Callable[[float], None] = lambda _: None,
) -> Calibration:
    """Thresholds with at most `target` episodes per key-week over the last `DAYS` days; `tell` hears the share done.

    Alerts that people acknowledged were real: they do not count, unless somebody called them a false alarm. Raises
    `Fatal` (69) where the index holds less than `LEAST`.
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
    end = datetime.fromtimestamp(int(bounds[1].timestamp()) // BUCKET_S * BUCKET_S, UTC)
    start = max(end - timedelta(days=DAYS), bounds[0])
    history = history_of(counts, start, end)
    scores = negative_scores(history, rule, tell)
    scores = leave_out_confirmed(store, history, scores)
    first = int(WARM_UP.total_seconds()) // BUCKET_S
    warm = replace(
        history,
        start=history.start + WARM_UP,
        posts=history.posts[:, first:],
        negatives=history.negatives[:, first:],
    )
    warm_scores = Scores(**{name: getattr(scores, name)[:, first:] for name in Scores.__dataclass_fields__})
    tiers = calibrate(warm, warm_scores, target)
    enough: Mapping[str, Threshold] = {n: t for n, t in tiers.items() if t.key_weeks >= LEAST_KEY_WEEKS}
    return Calibration(end, target, enough)


def extent(store: PostStore, now: datetime | None = None) -> tuple[datetime, datetime] | None:
    """From the first event time of the index to just after the last; posts dated after `now` (the clock) do not count.

    Where all of them are, the clock is the one that is wrong.
    """
    bounds, now = store.bounds(), now or datetime.now(UTC)
    if bounds is None:
        return None
    return bounds[0], (bounds[1] if bounds[0] > now else min(bounds[1], now)) + timedelta(microseconds=1)


def history_of(counts: CountCache, start: datetime, end: datetime) -> History:
    """The counts of the index, all keys up to `MAX_KEYS`, in whole buckets of `BUCKET_S` from `start` to before `end`.

    Raises `Fatal` (69) where nothing is counted in that time.
    """
    first = int(start.timestamp()) // BUCKET_S * BUCKET_S
    n_buckets = (int((end - timedelta(microseconds=1)).timestamp()) - first) // BUCKET_S + 1
    end = datetime.fromtimestamp(first + n_buckets * BUCKET_S, UTC)
    named: dict[str, Scope] = {}
    posts: dict[str, np.ndarray[Any, np.dtype[np.int64]]] = {}
    negatives: dict[str, np.ndarray[Any, np.dtype[np.int64]]] = {}
    for _, _, cells in counts.days(datetime.fromtimestamp(first, UTC), end):
        for cell in cells:
            for scope in filter(is_watched, scopes_of(cell)):
                key = key_name(scope)
                if key not in posts:
                    if len(posts) >= MAX_KEYS:
                        continue
                    named[key] = scope
                    posts[key], negatives[key] = np.zeros((2, n_buckets), np.int64)
                at = (cell.bucket - first) // BUCKET_S
                posts[key][at] += cell.posts
                negatives[key][at] += cell.negatives
    if not posts:
        raise Fatal(
            f"the index has no post to count from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC",
            "ask for more days with --days, or wait for posts (reposts are not counted)",
            EXIT_UNAVAILABLE,
        )
    keys = tuple(sorted(posts))
    return History(
        keys,
        datetime.fromtimestamp(first, UTC),
        BUCKET_S,
        np.stack([posts[k] for k in keys]),
        np.stack([negatives[k] for k in keys]),
        scopes=named,
    )


def leave_out_confirmed(store: NotificationStore, history: History, scores: Scores) -> Scores:
    """The scores without the alerts that people acknowledged, and without what these touched."""
    for alert in store.alerts():
        if alert.key not in history.keys or alert.lane != NEGATIVE:
            continue
        said = store.state(operator_key(alert.id)) or OperatorState()
        if not said.acknowledged_at or said.false_alarm_at or alert.false_alarm:
            continue
        over = alert.resolved_at or alert.updated_at
        scores = without(history, scores, alert.key, alert.started_at, over + AFTER)
    return scores
