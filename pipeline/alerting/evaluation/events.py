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
        interval = {"low": self.threshold.low, "high": self.threshold.high}
        threshold = {k: v for k, v in asdict(self.threshold).items() if k not in interval}
        threshold = {k: None if math.isnan(v) else v for k, v in threshold.items()}
        return {
            "episode": self.episode.to_json(),
            "transition": self.transition.value,
            "inhibited": list(self.inhibited),
            "muted": list(self.inhibited),  # a rollback to 0.11 reads it
            "threshold": threshold,
            "rate": interval,  # apart, because 0.11 takes no other fields of a threshold
            "tier": self.tier,
            "series": self.series.to_json(),
        }

    @classmethod
    def from_json(cls, value: JsonObject) -> Event:
        """Raises where a field is missing."""
        fields = JsonReader(value)
        threshold, interval = JsonReader(fields.object("threshold")), JsonReader(fields.object("rate"))
        return cls(
            Episode.from_json(fields.object("episode")),
            Transition(fields.text("transition")),
            fields.texts("inhibited" if fields.has("inhibited") else "muted"),  # 0.11 wrote only `muted`
            Threshold(
                threshold.number("fire", math.nan),
                threshold.number("per_key_week", math.nan),
                threshold.number("key_weeks", math.nan),
                interval.number_or_none("low"),
                interval.number_or_none("high"),
            ),
            fields.text("tier"),
            Series.from_json(fields.object("series")),
        )
