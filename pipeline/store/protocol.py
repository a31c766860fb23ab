"""The contracts of the store, one protocol per kind of document.

Every call is synchronous, may block, and raises only `Transient` or `Fatal`. All writes are idempotent: repeating a
call leaves the same documents. Times are aware UTC datetimes, and time ranges are half open.

A caller asks for the protocols that it uses; only what opens or closes a store needs `Store`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

from pipeline.domain.alert import Alert
from pipeline.domain.annotation import Annotation
from pipeline.domain.counting import Cell, NegativeDefinition, Scope
from pipeline.domain.post import Outcome, ScoredPost
from pipeline.domain.post_document import PostDocument, RepostedPost
from pipeline.domain.progress import Progress
from pipeline.domain.states import StateKey, T
from pipeline.domain.voices import VoicePost

#: `PostStore.source_hours` reports on this many sources: those with the most posts.
SOURCES = 100
#: `PostStore.loud_voices` returns at most this many posts.
VOICE_POSTS = 200_000


class PostStore(Protocol):
    """Indexed posts, and what is counted from them."""

    def index(self, posts: Sequence[ScoredPost], ingested_at: datetime, version: int) -> list[Outcome]:
        """Writes posts durably before it returns; one outcome per post, in order.

        A higher `version` (>= 1) overwrites a document; an equal or lower one leaves it as it is. Every closed day
        that a post belongs to gets a new invalidation token (`closed_days.py`).
        """
        ...

    def replace(self, documents: Sequence[PostDocument], version: int) -> int:
        """Overwrites the documents that have a lower version; returns how many.

        Every closed day that a document belongs to gets a new invalidation token.
        """
        ...

    def refresh(self) -> None:
        """Makes everything that was written visible to the reads below."""
        ...

    def counts(self, start: datetime, end: datetime, rule: NegativeDefinition) -> list[Cell]:
        """The cells of all buckets in the range, reposts left out: per topic, and per topic and subject.

        Each source in `rule.sources` has cells of its own: per topic, and per subject over all topics.
        """
        ...

    def loud_voices(self, start: datetime, end: datetime, rule: NegativeDefinition, most: int) -> list[VoicePost]:
        """The posts of each author and family with more than `most` posts of one topic, subject or watched source.

        All posts that the voice has in the range are among them, reposts left out, so that a caller may count how many
        of them belong to a key. Each post counts as `counts` counts it. Posts of quieter voices may be among them.
        """
        ...

    def source_hours(self, start: datetime, end: datetime) -> dict[str, dict[int, int]]:
        """Posts per source and hour (its start in seconds since the epoch), for the `SOURCES` largest sources."""
        ...

    def evidence(
        self, scope: Scope, start: datetime, end: datetime, rule: NegativeDefinition, limit: int
    ) -> list[RepostedPost]:
        """Negative posts, one per repost group: the most reposted first, then the most negative."""
        ...

    def evidence_query(self, scope: Scope, start: datetime, end: datetime, rule: NegativeDefinition) -> str:
        """A query that a person can run to see the posts that were counted."""
        ...

    def search(self, text: str, limit: int) -> list[PostDocument]:
        """Documents that contain every word of `text` (a run of Han characters is one phrase), newest first."""
        ...

    def post(self, document_id: str) -> PostDocument | None:
        """The document with this id, or None."""
        ...

    def documents(self, start: datetime, end: datetime) -> Iterable[PostDocument]:
        """Post documents, ordered by event time and read page by page."""
        ...

    def ids(self) -> Iterable[str]:
        """The id of every document, each once."""
        ...

    def post_count(self) -> int:
        """How many documents are indexed."""
        ...

    def bounds(self) -> tuple[datetime, datetime] | None:
        """The first and the last event time, or None if nothing is indexed."""
        ...


class AnnotationStore(Protocol):
    """What people said about posts."""

    def put_annotations(self, annotations: Sequence[Annotation]) -> None:
        """Writes annotations; one with the id of a stored annotation replaces it."""
        ...

    def annotations(self) -> Iterable[Annotation]:
        """Every annotation, the oldest first; one that cannot be read is logged and skipped."""
        ...

    def drop_annotations(self, annotations: Sequence[Annotation]) -> int:
        """Deletes these annotations by their ids; returns how many there were."""
        ...


class ProgressStore(Protocol):
    """How far the classify workers have read each source partition."""

    def save_progress(self, progress: Sequence[Progress]) -> None:
        """Keeps the furthest progress per source partition and log: one with a lower offset changes nothing."""
        ...

    def load_progress(self) -> dict[tuple[str, int], Progress]:
        """The progress of each source partition in its current log, as far as workers have reported it."""
        ...

    def all_progress(self) -> list[Progress]:
        """The progress in every log, former ones included; a record that cannot be read is logged and skipped."""
        ...


class AlertStore(Protocol):
    """The alert documents."""

    def put_alert(self, alert: Alert) -> bool:
        """Writes an alert; returns False and changes nothing if it may not replace the stored one.

        `Alert.may_replace` decides that.
        """
        ...

    def alert(self, alert_id: str) -> Alert | None:
        """The alert with this id, or None; raises `Fatal` if the stored document is not an alert."""
        ...

    def alerts(self, *, open_only: bool = False, limit: int = 1000) -> list[Alert]:
        """Alerts, newest first; in this list and those below a document that cannot be read is logged and skipped."""
        ...

    def due_alerts(self, channel: str, now: datetime, limit: int) -> list[Alert]:
        """Alerts that have a delivery to `channel` due by `now`.

        Those with the fewest attempts come first, then the oldest.
        """
        ...

    def unsettled_alerts(self) -> Iterable[Alert]:
        """Every alert that is open or has a delivery due on any channel."""
        ...

    def open_alerts(self) -> dict[str, int]:
        """How many alerts are open, by severity (`warning`, `critical`), and how many of them are `unnotified`."""
        ...


class StateStore(Protocol):
    """Named documents that processes of one installation share."""

    def put_state(self, key: StateKey[T], value: T) -> None:
        """Writes a state, whatever is stored."""
        ...

    def swap_state(self, key: StateKey[T], before: T | None, value: T) -> bool:
        """Writes `value` if `before` is stored (None: nothing); otherwise returns False and changes nothing.

        It also returns True if `value` is stored already, so that a call can be repeated after its answer was lost.
        """
        ...

    def state(self, key: StateKey[T]) -> T | None:
        """The state under this key, or None; raises `Fatal` if it cannot be read."""
        ...

    def states(self, keys: Sequence[StateKey[T]]) -> dict[StateKey[T], T]:
        """The states that exist under these keys, in one request."""
        ...


class Store(PostStore, AnnotationStore, AlertStore, ProgressStore, StateStore, Protocol):
    """The whole store, for those who open, set up or close it."""

    def setup(self) -> list[str]:
        """Creates what is missing; returns one line per thing created."""
        ...

    def check(self) -> str:
        """One line about the store; raises with a remedy if the store cannot be used."""
        ...

    def close(self) -> None:
        """Releases connections and files."""
        ...


class CountingStore(PostStore, StateStore, Protocol):
    """For those who count posts and keep what they counted."""


class AnnotatedPostStore(PostStore, AnnotationStore, Protocol):
    """For those who read or relabel posts by what people said about them."""


class NotificationStore(AlertStore, StateStore, Protocol):
    """For those who notify people of alerts and respect what operators said about them."""


class EvaluationStore(PostStore, AlertStore, StateStore, Protocol):
    """For those who evaluate counts into alerts, or backtest that."""


class StatusStore(AlertStore, ProgressStore, StateStore, Protocol):
    """For those who report how far the installation has come."""


class IndexingStore(PostStore, ProgressStore, Protocol):
    """For those who index posts and report how far they are."""


class MonitoringStore(EvaluationStore, ProgressStore, Protocol):
    """For the workers and the console: everything but the annotations."""
