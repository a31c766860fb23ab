"""The events that the evaluation hands to the alerts."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from models.json_reader import JsonReader
from models.json_types import JsonObject
from pipeline.alerting.detection.thresholds import Threshold
from pipeline.alerting.evaluation.episodes import Episode, Transition
from pipeline.domain.alert_evidence import Series


@dataclass(frozen=True, slots=True)
class Event:
    """A transition of an episode, and the keys that the episode inhibits.

    `tier` names the source of the `threshold`: a volume tier, an override or the volume lane.
    """

    episode: Episode
    transition: Transition
    inhibited: tuple[str, ...]
    threshold: Threshold
    tier: str
    series: Series

    def to_json(self) -> JsonObject:
        """For the evaluator's state; NaN is written as null."""
        threshold = {k: None if math.isnan(v) else v for k, v in asdict(self.threshold).items()}
        return {
            "episode": self.episode.to_json(),
            "transition": self.transition.value,
            "inhibited": list(self.inhibited),
            "muted": list(self.inhibited),  # a rollback to 0.11 reads it
            "threshold": threshold,
            "tier": self.tier,
            "series": self.series.to_json(),
        }

    @classmethod
    def from_json(cls, value: JsonObject) -> Event:
        """Raises where a field is missing."""
        fields = JsonReader(value)
        threshold = JsonReader(fields.object("threshold"))
        return cls(
            Episode.from_json(fields.object("episode")),
            Transition(fields.text("transition")),
            fields.texts("inhibited" if fields.has("inhibited") else "muted"),  # 0.11 wrote only `muted`
            Threshold(*(threshold.number(name, math.nan) for name in ("fire", "per_key_week", "key_weeks"))),
            fields.text("tier"),
            Series.from_json(fields.object("series")),
        )
