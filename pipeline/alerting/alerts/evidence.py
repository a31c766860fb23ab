"""The posts of an alert, and what they have in common. Blocking: reads the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from pipeline.alerting.alerts.terms import distinctive, spread
from pipeline.domain.alert import VOLUME
from pipeline.domain.counting import NegativeDefinition, Scope
from pipeline.domain.post import text_of
from pipeline.store.protocol import PostStore

SHOWN = 5
#: Posts that terms, sources and authors are taken from.
EXPLAINED = 300


class Evidence:
    """Of an alert of `scope` in a lane, from `start` to `end`; every method raises what the store raises."""

    def __init__(self, store: PostStore, counting: NegativeDefinition) -> None:
        self._store, self._counting = store, counting

    def posts(self, scope: Scope, lane: str, start: datetime, end: datetime) -> list[dict[str, Any]]:
        """The `SHOWN` that an alert shows."""
        return self._store.evidence(scope, start, end, self._rule(lane), SHOWN)

    def query(self, scope: Scope, lane: str, start: datetime, end: datetime) -> str:
        """What re-derives its numbers."""
        return self._store.evidence_query(scope, start, end, self._rule(lane))

    def facts(
        self, scope: Scope, lane: str, start: datetime, end: datetime, shown: Sequence[Mapping[str, Any]] = ()
    ) -> dict[str, Any]:
        """`terms` that set the posts apart from the week before, and the `spread` of who wrote them.

        `shown` stands in where the index has nothing to count.
        """
        counted = self._store.evidence(scope, start, end, self._rule(lane), EXPLAINED) or shown
        week = self._store.evidence(scope, start - timedelta(days=7), start, self._rule(lane), EXPLAINED)
        texts, before = ([text_of(p) for p in posts] for posts in (counted, week))
        return {"terms": distinctive(texts, before), "spread": spread(counted)}

    def distinct_authors(self, scope: Scope, lane: str, start: datetime, end: datetime) -> int:
        """How many wrote its posts, of the strongest `EXPLAINED`; each post of nobody is one more."""
        found: int = spread(self._store.evidence(scope, start, end, self._rule(lane), EXPLAINED))["voices"]
        return found

    def _rule(self, lane: str) -> NegativeDefinition:
        """Of a volume surge every post is evidence."""
        return replace(self._counting, negative=()) if lane == VOLUME else self._counting
