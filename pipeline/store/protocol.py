"""The store's contract. Every call is synchronous, may block, and raises `Transient` or `Fatal` only.

All writes are idempotent: the same call twice leaves the same documents.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from pipeline.domain.annotation import Annotation
from pipeline.domain.counting import Cell, NegativeDefinition, Scope
from pipeline.domain.post import Outcome, ScoredPost
from pipeline.domain.progress import Progress

#: Sources whose habit is known: those that sent most.
SOURCES = 100


#: The store's state that says when documents were labelled anew: baselines learned before are of another model.
RELABELLED = "relabelled"


def may_replace(there: Mapping[str, Any], document: Mapping[str, Any]) -> bool:
    """Whether an alert document may take the place of the one that stands there.

    One with a `revision` was made from the revision before it, or is out of date. Without one, as an older release
    writes it, it must have got as far: by its transition, and by whether people were told of it.
    """
    if "revision" in document:
        return bool(there.get("revision", 0) < document["revision"])
    return _progress(there) <= _progress(document)


def _progress(alert: Mapping[str, Any]) -> tuple[int, int, bool]:
    return alert.get("revision", 0), alert.get("sequence", 0), not alert.get("pending")


class Store(Protocol):
    """See the module's docstring; times are aware UTC datetimes, ranges are half open."""

    def setup(self) -> list[str]:
        """Creates what is missing and says what, a line each; idempotent."""
        ...

    def check(self) -> str:
        """A line about the store; raises where it cannot be used, with the remedy."""
        ...

    def index(self, posts: Sequence[ScoredPost], ingested_at: datetime, version: int) -> list[Outcome]:
        """Durable when it returns. A higher `version` (>= 1) overwrites; an equal or lower one does not.

        Marks every settled day that it writes to, as `replace` does (`settled.py`).
        """
        ...

    def refresh(self) -> None:
        """Makes all that was indexed visible to the reads below."""
        ...

    def counts(self, start: datetime, end: datetime, rule: NegativeDefinition) -> list[Cell]:
        """Cells of all buckets in the range: rows per topic, then rows per topic and subject.

        For each source of `rule.sources` then rows per topic, and rows per subject (of any topic).
        """
        ...

    def source_hours(self, start: datetime, end: datetime) -> dict[str, dict[int, int]]:
        """Posts per hour (its start, seconds since the epoch) of the `SOURCES` sources that sent most."""
        ...

    def evidence(
        self, scope: Scope, start: datetime, end: datetime, rule: NegativeDefinition, limit: int
    ) -> list[dict[str, Any]]:
        """Negative posts, one per repost group, those reposted most first, then the most negative."""
        ...

    def evidence_query(self, scope: Scope, start: datetime, end: datetime, rule: NegativeDefinition) -> str:
        """A query that a person can run to see the posts counted."""
        ...

    def search(self, text: str, limit: int) -> list[dict[str, Any]]:
        """Documents with all words of `text` (a run of Han as a phrase), newest first."""
        ...

    def post(self, document_id: str) -> dict[str, Any] | None: ...

    def documents(self, start: datetime, end: datetime) -> Iterable[dict[str, Any]]:
        """Post documents with their `_id`, by event time; read in pages."""
        ...

    def replace(self, documents: Sequence[Mapping[str, Any]], version: int) -> int:
        """Overwrites documents (given with their `_id`) that have a lower version; how many were."""
        ...

    def put_annotations(self, labels: Sequence[Annotation]) -> None:
        """A label with the id of an older one takes its place."""
        ...

    def annotations(self) -> Iterable[Annotation]:
        """Every label, the oldest first."""
        ...

    def drop_annotations(self, labels: Sequence[Annotation]) -> int:
        """Takes these out, by their ids; how many were there."""
        ...

    def ids(self) -> Iterable[str]:
        """Every document id, each once."""
        ...

    def post_count(self) -> int: ...

    def bounds(self) -> tuple[datetime, datetime] | None:
        """The first and the last event time, or None where nothing is indexed."""
        ...

    def save_progress(self, progress: Sequence[Progress]) -> None:
        """Keeps the furthest progress per source partition and log: one with a lower offset changes nothing."""
        ...

    def load_progress(self) -> dict[tuple[str, int], Progress]:
        """Of each source partition the progress in the log that it is now, as far as workers have said."""
        ...

    def all_progress(self) -> list[Progress]:
        """With that in former logs. A record that cannot be read is passed over."""
        ...

    def put_alert(self, alert_id: str, document: Mapping[str, Any]) -> bool:
        """False where the one that stands there may not be replaced by it (`may_replace`): it stays."""
        ...

    def alert(self, alert_id: str) -> dict[str, Any] | None: ...

    def alerts(self, *, open_only: bool = False, limit: int = 1000) -> list[dict[str, Any]]:
        """Alert documents with their `id`, newest first."""
        ...

    def due_alerts(self, channel: str, now: datetime, limit: int) -> list[dict[str, Any]]:
        """Alert documents with their `id` that have a delivery to `channel` due by `now` (`notifications.due_at`).

        Those tried least often come first, then the oldest.
        """
        ...

    def unsettled_alerts(self) -> Iterable[dict[str, Any]]:
        """Every alert document, with its `id`, that is open or has something due for any channel."""
        ...

    def open_alerts(self) -> dict[str, int]:
        """How many are open: by `warning` and `critical`, and `unnotified`."""
        ...

    def put_state(self, name: str, value: Mapping[str, Any]) -> None: ...

    def swap_state(self, name: str, before: Mapping[str, Any] | None, value: Mapping[str, Any]) -> bool:
        """Puts `value` where `before` stands (None: nothing); False where another has written, and that stays.

        Both as they come from JSON. Asked again after a lost answer, it says True: what it was to write stands there.
        """
        ...

    def state(self, name: str) -> dict[str, Any] | None: ...

    def states(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Those of the states that are there, by name, in one question."""
        ...

    def close(self) -> None: ...
