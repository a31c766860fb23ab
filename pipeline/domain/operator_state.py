"""What people said about an alert, which the store keeps apart from the alert: only their commands write it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from models.json_reader import JsonReader
from models.json_types import JsonObject
from pipeline.domain.states import StateKey


@dataclass(frozen=True, slots=True)
class OperatorState:
    """An acknowledgement, a snooze and the word that the alert is false; what nobody said is None."""

    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    snoozed_until: datetime | None = None
    snooze_reason: str | None = None
    snoozed_by: str | None = None
    false_alarm_at: datetime | None = None
    false_alarm_by: str | None = None
    unknown: JsonObject = field(default_factory=dict)

    def to_json(self) -> JsonObject:
        """The state without what nobody said."""
        said: JsonObject = {
            "acknowledged_at": _iso(self.acknowledged_at),
            "acknowledged_by": self.acknowledged_by,
            "snoozed_until": _iso(self.snoozed_until),
            "snooze_reason": self.snooze_reason,
            "snoozed_by": self.snoozed_by,
            "false_alarm_at": _iso(self.false_alarm_at),
            "false_alarm_by": self.false_alarm_by,
        }
        return {**{name: value for name, value in said.items() if value is not None}, **self.unknown}

    @classmethod
    def from_json(cls, value: JsonObject) -> OperatorState:
        fields = JsonReader(value)
        return cls(
            acknowledged_at=fields.time_or_none("acknowledged_at"),
            acknowledged_by=fields.text_or_none("acknowledged_by"),
            snoozed_until=fields.time_or_none("snoozed_until"),
            snooze_reason=fields.text_or_none("snooze_reason"),
            snoozed_by=fields.text_or_none("snoozed_by"),
            false_alarm_at=fields.time_or_none("false_alarm_at"),
            false_alarm_by=fields.text_or_none("false_alarm_by"),
            unknown=fields.rest,
        )

    def is_snoozed_at(self, now: datetime) -> bool:
        return self.snoozed_until is not None and now < self.snoozed_until


def operator_key(alert_id: str) -> StateKey[OperatorState]:
    """The key of what people said about an alert."""
    return StateKey(f"operator-{alert_id}", OperatorState.from_json, OperatorState.to_json)


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
