"""The events that the evaluation hands to the alerts."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

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
            "series": asdict(self.series),
        }

    @classmethod
    def from_json(cls, value: JsonObject) -> Event:
        """Raises where a field is missing."""
        threshold = {k: math.nan if v is None else v for k, v in value["threshold"].items()}
        series = value["series"]
        return cls(
            Episode.from_json(value["episode"]),
            Transition(value["transition"]),
            tuple(value["inhibited"] if "inhibited" in value else value["muted"]),  # 0.11 wrote only `muted`
            Threshold(**threshold, **value.get("rate", {})),
            value["tier"],
            Series(series["end"], series["step_s"], tuple(series["posts"]), tuple(series["negatives"])),
        )
