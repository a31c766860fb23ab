"""Writes scored posts to the store; a post that the store cannot take becomes a poison."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from pipeline.classify.isolation import DATA_ERRORS, Bug, isolate_bugs, poison_of
from pipeline.classify.retries import Retries
from pipeline.domain.document_version import DocumentVersion
from pipeline.domain.errors import Poison
from pipeline.domain.metrics import Metrics
from pipeline.domain.post import Outcome, ScoredPost
from pipeline.store.protocol import PostStore


class PostIndexer:
    """`now` is the wall clock, in UTC; it gives the documents their `ingested_at`."""

    def __init__(self, store: PostStore, retries: Retries, metrics: Metrics, now: Callable[[], datetime]) -> None:
        self._store, self._retries, self._metrics, self._now = store, retries, metrics, now

    async def index(self, posts: Sequence[ScoredPost]) -> list[Outcome | Poison]:
        """Returns the outcome of each post, in order; a `Transient` of the store is retried."""

        def write() -> list[Outcome | Bug]:
            now = self._now()
            return isolate_bugs(posts, lambda part: self._store.index(part, now, DocumentVersion.STREAMED), DATA_ERRORS)

        with self._metrics.indexing.time():
            outcomes = await self._retries.run_blocking("index", write)
        return [_or_poison(scored, outcome) for scored, outcome in zip(posts, outcomes, strict=True)]


def _or_poison(scored: ScoredPost, outcome: Outcome | Bug) -> Outcome | Poison:
    if isinstance(outcome, Bug):
        return poison_of(outcome, "index", str(scored.post.origin))
    return Poison("index", "rejected") if outcome is Outcome.REJECTED else outcome
