"""Thresholds per volume tier: rare keys and loud keys are noisy in different ways. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from pipeline.domain.known_fields import known_fields
from pipeline.domain.states import json_key

#: The store's state that holds the calibration.
CALIBRATION = json_key("calibration")
#: Upper ends, posts an hour.
TIERS = {"under 10/h": 10.0, "10 to 50/h": 50.0, "50 to 200/h": 200.0, "over 200/h": float("inf")}


def tier_of(posts_per_h: float) -> str:
    """The name of the tier.

    >>> tier_of(9.9), tier_of(200)
    ('under 10/h', 'over 200/h')
    """
    return next(name for name, end in TIERS.items() if posts_per_h < end)


@dataclass(frozen=True, slots=True)
class Threshold:
    """The score from which a key of the tier fires, and the episodes per key-week that it gave on `key_weeks`."""

    fire: float
    per_key_week: float
    key_weeks: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Thresholds found at `at` for `target` episodes per key-week."""

    at: datetime
    target: float
    tiers: Mapping[str, Threshold]

    def to_json(self) -> dict[str, Any]:
        """As it stands in the store's state; `from_json` reads it back."""
        return {
            "at": self.at.isoformat(),
            "target": self.target,
            "tiers": {name: asdict(threshold) for name, threshold in self.tiers.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Calibration:
        tiers = {name: Threshold(**known_fields(Threshold, threshold)) for name, threshold in value["tiers"].items()}
        return cls(datetime.fromisoformat(value["at"]), value["target"], tiers)
