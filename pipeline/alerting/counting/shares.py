"""Posts and negatives per key over time, for the views that people look at."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta

from pipeline.alerting.counting.table import key_name, scopes_of
from pipeline.domain.counting import NegativeDefinition
from pipeline.store.protocol import PostStore


def key_shares(
    store: PostStore, rule: NegativeDefinition, end: datetime, step: timedelta, steps: int
) -> dict[str, tuple[list[int], list[int]]]:
    """Key (topic, subject or watched source) -> posts and negatives of the `steps` steps before `end`, no reposts."""
    start = end - steps * step
    found: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([0] * steps, [0] * steps))
    for cell in store.counts(start, end, rule):
        at = min(steps - 1, max(0, int((cell.bucket - start.timestamp()) // step.total_seconds())))
        for key in (key_name(scope) for scope in scopes_of(cell) if scope.is_single):
            found[key][0][at] += cell.posts
            found[key][1][at] += cell.negatives
    return dict(found)
