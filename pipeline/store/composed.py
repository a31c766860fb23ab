"""A store that is made of one part per protocol."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from pipeline.domain.alert import Alert
from pipeline.domain.annotation import Annotation
from pipeline.domain.counting import Cell, NegativeDefinition, Scope
from pipeline.domain.post import Outcome, ScoredPost
from pipeline.domain.post_document import PostDocument, RepostedPost
from pipeline.domain.progress import Progress
from pipeline.domain.states import StateKey, T
from pipeline.domain.voices import VoicePost
from pipeline.store.protocol import AlertStore, AnnotationStore, PostStore, ProgressStore, StateStore


class ComposedStore:
    """Hands each call to the part that implements its protocol; a backend adds `setup`, `check` and `close`."""

    def __init__(
        self,
        *,
        posts: PostStore,
        annotations: AnnotationStore,
        alerts: AlertStore,
        progress: ProgressStore,
        states: StateStore,
    ) -> None:
        self._posts, self._annotations, self._alerts = posts, annotations, alerts
        self._progress, self._states = progress, states

    def index(self, posts: Sequence[ScoredPost], ingested_at: datetime, version: int) -> list[Outcome]:
        return self._posts.index(posts, ingested_at, version)

    def replace(self, documents: Sequence[PostDocument], version: int) -> int:
        return self._posts.replace(documents, version)

    def refresh(self) -> None:
        self._posts.refresh()

    def counts(self, start: datetime, end: datetime, rule: NegativeDefinition) -> list[Cell]:
        return self._posts.counts(start, end, rule)

    def loud_voices(self, start: datetime, end: datetime, rule: NegativeDefinition, most: int) -> list[VoicePost]:
        return self._posts.loud_voices(start, end, rule, most)

    def source_hours(self, start: datetime, end: datetime) -> dict[str, dict[int, int]]:
        return self._posts.source_hours(start, end)

    def evidence(
        self, scope: Scope, start: datetime, end: datetime, rule: NegativeDefinition, limit: int
    ) -> list[RepostedPost]:
        return self._posts.evidence(scope, start, end, rule, limit)

    def evidence_query(self, scope: Scope, start: datetime, end: datetime, rule: NegativeDefinition) -> str:
        return self._posts.evidence_query(scope, start, end, rule)

    def search(self, text: str, limit: int) -> list[PostDocument]:
        return self._posts.search(text, limit)

    def post(self, document_id: str) -> PostDocument | None:
        return self._posts.post(document_id)

    def documents(self, start: datetime, end: datetime) -> Iterable[PostDocument]:
        return self._posts.documents(start, end)

    def ids(self) -> Iterable[str]:
        return self._posts.ids()

    def post_count(self) -> int:
        return self._posts.post_count()

    def bounds(self) -> tuple[datetime, datetime] | None:
        return self._posts.bounds()

    def put_annotations(self, annotations: Sequence[Annotation]) -> None:
        self._annotations.put_annotations(annotations)

    def annotations(self) -> Iterable[Annotation]:
        return self._annotations.annotations()

    def drop_annotations(self, annotations: Sequence[Annotation]) -> int:
        return self._annotations.drop_annotations(annotations)

    def save_progress(self, progress: Sequence[Progress]) -> None:
        self._progress.save_progress(progress)

    def load_progress(self) -> dict[tuple[str, int], Progress]:
        return self._progress.load_progress()

    def all_progress(self) -> list[Progress]:
        return self._progress.all_progress()

    def put_alert(self, alert: Alert) -> bool:
        return self._alerts.put_alert(alert)

    def alert(self, alert_id: str) -> Alert | None:
        return self._alerts.alert(alert_id)

    def alerts(self, *, open_only: bool = False, limit: int = 1000) -> list[Alert]:
        return self._alerts.alerts(open_only=open_only, limit=limit)

    def due_alerts(self, channel: str, now: datetime, limit: int) -> list[Alert]:
        return self._alerts.due_alerts(channel, now, limit)

    def unsettled_alerts(self) -> Iterable[Alert]:
        return self._alerts.unsettled_alerts()

    def open_alerts(self) -> dict[str, int]:
        return self._alerts.open_alerts()

    def put_state(self, key: StateKey[T], value: T) -> None:
        self._states.put_state(key, value)

    def swap_state(self, key: StateKey[T], before: T | None, value: T) -> bool:
        return self._states.swap_state(key, before, value)

    def state(self, key: StateKey[T]) -> T | None:
        return self._states.state(key)

    def states(self, keys: Sequence[StateKey[T]]) -> dict[StateKey[T], T]:
        return self._states.states(keys)
