"""What became of an alert at each notification channel: part of the alert document. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from models.json_reader import JsonReader
from models.json_types import JsonObject

#: The `due_at` of a delivery that waits for nothing but its channel, whatever the wall clock says.
AT_ONCE = datetime.fromtimestamp(0, UTC)


class DeliveryState(StrEnum):
    """What became of the newest transition at one channel."""

    PENDING = "pending"
    DELIVERED = "delivered"
    RETRYING = "retrying"
    REFUSED = "refused"
    HELD = "held"
    SUPPRESSED = "suppressed"
    NO_ROUTE = "no route"


_STATES = frozenset(state.value for state in DeliveryState)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One channel's share of an alert: it has been in `state` since `at`, after `attempts` tries.

    `detail` is the receiver's answer or the reason. `sequence` is the last transition that the channel has settled
    (-1: none). `notified_as` is how the receiver knows the alert (warning, critical, resolved; empty: not at all).
    `due_at` is when the channel looks at the alert next (None: it has nothing to do). Times have whole seconds.
    """

    channel: str
    state: DeliveryState = DeliveryState.PENDING
    at: datetime | None = None
    attempts: int = 0
    detail: str = ""
    sequence: int = -1
    notified_as: str = ""
    due_at: datetime | None = None

    def to_json(self) -> JsonObject:
        return {
            "channel": self.channel,
            "state": self.state.value,
            "at": self.at.isoformat() if self.at else None,
            "attempts": self.attempts,
            "detail": self.detail,
            "sequence": self.sequence,
            "told": self.notified_as,
            "due_at": self.due_at.isoformat() if self.due_at else None,
        }

    @classmethod
    def from_json(cls, value: JsonObject) -> Delivery:
        """Skips the fields of a newer release and reads a state that it does not know as pending."""
        fields = JsonReader(value)
        state = fields.text("state", "")
        return cls(
            channel=fields.text("channel"),
            state=DeliveryState(state) if state in _STATES else DeliveryState.PENDING,
            at=fields.time_or_none("at"),
            attempts=fields.whole("attempts", 0),
            detail=fields.text("detail", ""),
            sequence=fields.whole("sequence", -1),
            notified_as=fields.text("told", ""),
            due_at=fields.time_or_none("due_at"),
        )


@dataclass(frozen=True, slots=True)
class NotificationStatus:
    """Who was notified of an alert, and when people first and last were (`first_at`, `last_at`).

    `pending` names the channels that have something to do, `held` says why a channel waits, `unnotified` why nobody
    was notified and nobody will be. All but the two times are None in an alert that has not reached the channels yet.
    Up to release 0.10.0 there were no `deliveries`, and `pending` named transitions.
    """

    first_at: datetime | None = None
    last_at: datetime | None = None
    deliveries: tuple[Delivery, ...] | None = None
    pending: tuple[str, ...] | None = None
    held: str | None = None
    unnotified: str | None = None

    @property
    def by_channel(self) -> Mapping[str, Delivery]:
        return {delivery.channel: delivery for delivery in self.deliveries or ()}

    def times_only(self) -> NotificationStatus:
        """The two times, without what happened at each channel."""
        return NotificationStatus(self.first_at, self.last_at)


@dataclass(frozen=True, slots=True)
class FalseAlarm:
    """The word of a person that an alert is false; `ended_at` is when its episode ended by itself, if it has."""

    at: datetime
    by: str
    note: str = ""
    ended_at: datetime | None = None
    unknown: JsonObject = field(default_factory=dict)

    def to_json(self) -> JsonObject:
        ended_at = self.ended_at.isoformat() if self.ended_at else None
        return {"at": self.at.isoformat(), "by": self.by, "note": self.note, "ended_at": ended_at, **self.unknown}

    @classmethod
    def from_json(cls, value: JsonObject) -> FalseAlarm:
        fields = JsonReader(value)
        return cls(
            at=fields.time("at"),
            by=fields.text("by"),
            note=fields.text("note", ""),
            ended_at=fields.time_or_none("ended_at"),
            unknown=fields.rest,
        )
