"""Posts and negatives per key over time, for the console and the demo."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta

from pipeline.alerting.counting.table import key_name, scopes_of
from pipeline.domain.counting import NegativeDefinition
from pipeline.store.protocol import PostStore


def key_shares(
    store: PostStore, definition: NegativeDefinition, end: datetime, step: timedelta, steps: int
) -> dict[str, tuple[list[int], list[int]]]:
    """Posts and negatives of each topic, subject and watched source in the `steps` steps before `end`, no reposts."""
    start = end - steps * step
    found: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([0] * steps, [0] * steps))
    for cell in store.counts(start, end, definition):
        at = min(steps - 1, max(0, int((cell.bucket - start.timestamp()) // step.total_seconds())))
        for key in (key_name(scope) for scope in scopes_of(cell) if scope.is_single):
            found[key][0][at] += cell.posts
            found[key][1][at] += cell.negatives
    return dict(found)
