"""What the evaluation hands to whoever tells people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.alerting.detection.thresholds import Threshold
from pipeline.alerting.evaluation.episodes import Episode, Transition
from pipeline.domain.alert_evidence import Series


@dataclass(frozen=True, slots=True)
class Event:
    """A transition that somebody must hear of, and the keys that it mutes."""

    episode: Episode
    transition: Transition
    inhibited: tuple[str, ...]
    threshold: Threshold
    tier: str
    series: Series

    def to_json(self) -> dict[str, Any]:
        """For the evaluator's state; `from_json` reads it back. What is not a number is null."""
        threshold = {k: None if math.isnan(v) else v for k, v in asdict(self.threshold).items()}
        return {
            "episode": self.episode.to_json(),
            "transition": self.transition.value,
            "inhibited": list(self.inhibited),
            "threshold": threshold,
            "tier": self.tier,
            "series": asdict(self.series),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Event:
        threshold = {k: math.nan if v is None else v for k, v in value["threshold"].items()}
        series = value["series"]
        return cls(
            Episode.from_json(value["episode"]),
            Transition(value["transition"]),
            tuple(value["inhibited"] if "inhibited" in value else value["muted"]),
            Threshold(**threshold),
            value["tier"],
            Series(series["end"], series["step_s"], tuple(series["posts"]), tuple(series["negatives"])),
        )
