"""Whether a transition is told now, later or never, and why. Pure; times are of the wall clock.

- too few authors: nothing until there are more; nothing at all where it ends before
- acknowledged: no more reminders; an escalation and the resolution are still told
- snoozed: nothing until the snooze ends; then the last thing that is still true
- a false alarm, as somebody says: nothing but that it is over
- quiet hours: warnings wait for their end; critical alerts do not
- maintenance: nothing is told of the keys it names; it is not made up for later
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any
from zoneinfo import ZoneInfo

from models.json_types import JsonObject
from pipeline.alerting.evaluation.overrides import KeyOverride, least_authors
from pipeline.domain.states import StateKey, json_key

WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def operator_state(alert_id: str) -> StateKey[JsonObject]:
    """The key of the store's state that holds what people said of an alert; nobody but people writes it."""
    return json_key(f"operator-{alert_id}")


class Action(Enum):
    """Now, not yet, or not at all."""

    SEND = "send"
    HOLD = "hold"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Decision:
    """`reason` is for people: it stands in the alert while it is held; `until` when that ends, where anybody knows."""

    tell: Action
    reason: str = ""
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class QuietHours:
    """Every day of `days` from `start` to `end` (over midnight where end <= start) in `zone`."""

    start: time
    end: time
    zone: str
    days: tuple[str, ...] = WEEK

    def until(self, now: datetime) -> datetime | None:
        """When the quiet that covers `now` ends; None where none does. An end that the clock skips comes early."""
        local = now.astimezone(ZoneInfo(self.zone))
        for back in (0, 1):
            day = local.date() - timedelta(days=back)
            begin = datetime.combine(day, self.start, local.tzinfo)
            end = datetime.combine(day, self.end, local.tzinfo)
            end += timedelta(days=end <= begin)
            if WEEK[day.weekday()] in self.days and begin <= local < end:
                first, second = (end.replace(fold=fold) for fold in (0, 1))  # differ where the clock is set that night
                skipped = second.astimezone(UTC) < first.astimezone(UTC)
                return second if skipped or first.astimezone(UTC) <= now else first
        return None


@dataclass(frozen=True, slots=True)
class Maintenance:
    """From `start` to `end` nothing is told of the keys that a pattern of `keys` matches."""

    start: datetime
    end: datetime
    keys: tuple[str, ...] = ("*",)
    reason: str = ""


def decide(
    transition: str,
    alert: Mapping[str, Any],
    operator: Mapping[str, Any],
    quiet: Sequence[QuietHours],
    maintenance: Sequence[Maintenance],
    now: datetime,
    min_authors: int = 1,
) -> Decision:
    """`operator` is what a person said of this alert: `acknowledged_at`, `snoozed_until` (ISO 8601), or nothing.

    What was told once stays news, however few its authors are by then.
    """
    for window in maintenance:
        if window.start <= now < window.end and any(fnmatchcase(alert["key"], p) for p in window.keys):
            return Decision(Action.DROP, f"maintenance until {window.end.isoformat()}: {window.reason}".rstrip(": "))
    if below_min_authors(alert, min_authors):
        reason = f"{alert['spread']['voices']} of {min_authors} authors (alerts.min_authors)"
        return Decision(Action.DROP if transition == "resolved" else Action.HOLD, reason)
    snoozed = operator.get("snoozed_until")
    if snoozed and now < datetime.fromisoformat(snoozed):
        return Decision(Action.HOLD, f"snoozed until {snoozed}", datetime.fromisoformat(snoozed))
    if operator.get("false_alarm_at") and transition != "resolved":
        return Decision(Action.DROP, f"a false alarm, says {operator.get('false_alarm_by', '?')}")
    if operator.get("acknowledged_at") and transition == "reminder":
        return Decision(Action.DROP, f"acknowledged by {operator.get('acknowledged_by', '?')}")
    if alert["severity"] != "critical":
        ends = [end for window in quiet if (end := window.until(now)) is not None]
        if ends:
            return Decision(Action.HOLD, f"quiet hours until {max(ends).isoformat()}", max(ends))
    return Decision(Action.SEND)


def below_min_authors(alert: Mapping[str, Any], min_authors: int) -> bool:
    """Whether nobody was told of the alert yet, and fewer than `min_authors` wrote its posts.

    >>> below_min_authors({"first_notified_at": None, "spread": {"voices": 1}}, 2)
    True
    """
    distinct_authors = (alert.get("spread") or {}).get("voices", min_authors)
    return bool(distinct_authors < min_authors and not alert["first_notified_at"])


@dataclass(frozen=True, slots=True)
class NotificationPolicy:
    """`decide` with what the settings say."""

    quiet: tuple[QuietHours, ...] = ()
    maintenance: tuple[Maintenance, ...] = ()
    rules: tuple[KeyOverride, ...] = ()
    min_authors: int = 1

    def decide(self, transition: str, alert: Mapping[str, Any], operator: Mapping[str, Any], now: datetime) -> Decision:
        authors = self._authors(alert)
        return decide(transition, alert, operator, self.quiet, self.maintenance, now, authors)

    def is_below_min_authors(self, alert: Mapping[str, Any]) -> bool:
        """Whether the alert waits for more people to write."""
        return below_min_authors(alert, self._authors(alert))

    def _authors(self, alert: Mapping[str, Any]) -> int:
        return least_authors(self.min_authors, self.rules, alert["key"])
