"""The document with which an evaluator goes on after a restart, or takes over from another process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from models.json_reader import JsonReader
from models.json_types import JsonObject
from pipeline.alerting.evaluation.episodes import Episode
from pipeline.alerting.evaluation.events import Event
from pipeline.alerting.evaluation.exclusions import Period
from pipeline.alerting.evaluation.lane import LaneState
from pipeline.domain.counting import bucket_start
from pipeline.domain.states import StateKey
from pipeline.domain.unreadable import skip_unreadable
from pipeline.store.protocol import StateStore


@dataclass(frozen=True, slots=True)
class EvaluatorState:
    """`cursor` is the end of the last evaluated bucket, in seconds since the epoch.

    `unrecorded` are events that the evaluator found and whose alerts nobody has written yet.
    """

    cursor: int
    negative: LaneState = LaneState()
    volume: LaneState = LaneState()
    unrecorded: tuple[Event, ...] = ()

    @classmethod
    def begun_at(cls, at: datetime) -> EvaluatorState:
        """The state of an evaluator that has evaluated everything before `at` and found nothing."""
        return cls(bucket_start(at.timestamp()))

    def to_json(self) -> JsonObject:
        """The document in the store."""
        return {
            "cursor": self.cursor,
            "episodes": [episode.to_json() for episode in self.negative.episodes],
            "volume": [episode.to_json() for episode in self.volume.episodes],
            "past": [period.to_json() for period in self.negative.exclusions],
            "unrecorded": [event.to_json() for event in self.unrecorded],
        }

    def as_read_back(self) -> EvaluatorState:
        """The state as a store gives it back: `swap_state` compares it with what is stored."""
        return self.from_json(json.loads(json.dumps(self.to_json())))

    @classmethod
    def from_json(cls, value: JsonObject) -> EvaluatorState:
        """Skips episodes that it cannot read, and logs them; raises where anything else cannot be read."""
        fields = JsonReader(value)
        exclusions = tuple(Period.from_json(row) for row in fields.text_rows("past"))
        return cls(
            fields.whole("cursor"),
            LaneState(_episodes(fields.objects("episodes")), exclusions),
            LaneState(_episodes(fields.objects("volume"))),
            tuple(Event.from_json(item) for item in fields.objects("unrecorded")),
        )


STATE = StateKey("evaluator", EvaluatorState.from_json, EvaluatorState.to_json)


def _episodes(items: Sequence[JsonObject]) -> tuple[Episode, ...]:
    return tuple(skip_unreadable("episodes in the store", items, Episode.from_json))


def evaluated_to(store: StateStore) -> datetime | None:
    """The event time up to which the alert role has evaluated; None before its first evaluation. Blocking."""
    state = store.state(STATE)
    return None if state is None else datetime.fromtimestamp(state.cursor, UTC)
