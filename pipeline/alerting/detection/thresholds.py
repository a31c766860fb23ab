"""Thresholds per volume tier, because the noise of rare keys differs from that of loud ones. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime

from models.json_reader import JsonReader
from models.json_types import JsonObject
from pipeline.domain.states import StateKey

#: The volume tiers with their upper ends, in posts per hour.
TIERS = {"under 10/h": 10.0, "10 to 50/h": 50.0, "50 to 200/h": 200.0, "over 200/h": float("inf")}


def tier_of(posts_per_h: float) -> str:
    """The name of the volume tier.

    >>> tier_of(9.9), tier_of(200)
    ('under 10/h', 'over 200/h')
    """
    return next(name for name, end in TIERS.items() if posts_per_h < end)


@dataclass(frozen=True, slots=True)
class Threshold:
    """The score from which a key fires, and the episodes per key-week that it gave on a history of `key_weeks`.

    `low` and `high` are the ends of the 80 % interval of that rate (None: an earlier release found it, or nobody did).
    """

    fire: float
    per_key_week: float
    key_weeks: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        interval = (
            "" if self.low is None or self.high is None else f" (80 % interval {self.low:.3f} to {self.high:.3f})"
        )
        return f"{self.per_key_week:.3f} episodes per key-week{interval} over {self.key_weeks:.0f} key-weeks"

    def to_json(self) -> JsonObject:
        """The interval is left out where there is none."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, value: JsonObject) -> Threshold:
        """Ignores fields of a newer release; raises `KeyError` or `ValueError` for an object that is not one."""
        fields = JsonReader(value)
        return cls(
            fields.number("fire"),
            fields.number("per_key_week"),
            fields.number("key_weeks"),
            fields.number_or_none("low"),
            fields.number_or_none("high"),
        )


@dataclass(frozen=True, slots=True)
class Calibration:
    """Thresholds by volume tier, found at `at` for `target` episodes per key-week."""

    at: datetime
    target: float
    thresholds: Mapping[str, Threshold]

    def to_json(self) -> JsonObject:
        """The document of the store's state."""
        return {
            "at": self.at.isoformat(),
            "target": self.target,
            "tiers": {name: threshold.to_json() for name, threshold in self.thresholds.items()},
        }

    @classmethod
    def from_json(cls, value: JsonObject) -> Calibration:
        """Ignores fields of a newer release; raises `KeyError` or `ValueError` for a document that is not one."""
        fields = JsonReader(value)
        thresholds = {name: Threshold.from_json(found) for name, found in fields.objects_by_name("tiers").items()}
        return cls(fields.time("at"), fields.number("target"), thresholds)


CALIBRATION = StateKey("calibration", Calibration.from_json, Calibration.to_json, expendable=True)
