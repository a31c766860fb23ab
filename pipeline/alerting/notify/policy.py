"""The notification policy: whether a channel sends a transition now, later or never, and why. Pure.

- maintenance: alerts on the keys that it names are dropped and not made up for later
- below the minimum of authors: the alert waits until more people write; it is dropped if it ends before
- snoozed: the alert waits until the snooze ends
- marked as a false alarm: only the end is sent
- acknowledged: reminders are dropped; an escalation and the end are sent
- quiet hours: warnings wait until they end; critical alerts do not

Times are of the wall clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import Enum
from fnmatch import fnmatchcase
from zoneinfo import ZoneInfo

from pipeline.alerting.evaluation.overrides import KeyOverride, least_authors
from pipeline.domain.alert import CRITICAL, RESOLVED, Alert
from pipeline.domain.operator_state import OperatorState

WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Action(Enum):
    """Send now, wait, or do not send at all."""

    SEND = "send"
    HOLD = "hold"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do; `reason` is shown to people, `until` says when a wait ends (None: nobody knows)."""

    action: Action
    reason: str = ""
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class QuietHours:
    """Every day of `days` from `start` to `end` in `zone`; they last over midnight if `end` is not after `start`."""

    start: time
    end: time
    zone: str
    days: tuple[str, ...] = WEEK

    def until(self, now: datetime) -> datetime | None:
        """When the quiet hours that cover `now` end (None: none do); an end that the clock skips comes early."""
        local = now.astimezone(ZoneInfo(self.zone))
        for back in (0, 1):
            day = local.date() - timedelta(days=back)
            begin = datetime.combine(day, self.start, local.tzinfo)
            end = datetime.combine(day, self.end, local.tzinfo)
            end += timedelta(days=end <= begin)
            if WEEK[day.weekday()] in self.days and begin <= local < end:
                first, second = (end.replace(fold=fold) for fold in (0, 1))
                skipped = second.astimezone(UTC) < first.astimezone(UTC)
                return second if skipped or first.astimezone(UTC) <= now else first
        return None


@dataclass(frozen=True, slots=True)
class Maintenance:
    """From `start` to `end`, alerts on keys that match a pattern in `keys` are dropped."""

    start: datetime
    end: datetime
    keys: tuple[str, ...] = ("*",)
    reason: str = ""


def decide(
    transition: str,
    alert: Alert,
    operator: OperatorState,
    quiet: Sequence[QuietHours],
    maintenance: Sequence[Maintenance],
    now: datetime,
    min_authors: int = 1,
) -> Decision:
    """What to do with a transition of an alert; `operator` holds what people said about it.

    The minimum of authors does not apply to an alert that people know of already.
    """
    for window in maintenance:
        if window.start <= now < window.end and any(fnmatchcase(alert.key, p) for p in window.keys):
            return Decision(Action.DROP, f"maintenance until {window.end.isoformat()}: {window.reason}".rstrip(": "))
    if below_min_authors(alert, min_authors):
        reason = f"{_distinct_authors(alert)} of {min_authors} authors (alerts.min_authors)"
        return Decision(Action.DROP if transition == RESOLVED else Action.HOLD, reason)
    if operator.snoozed_until is not None and operator.is_snoozed_at(now):
        until = operator.snoozed_until
        return Decision(Action.HOLD, f"snoozed until {until.isoformat()}", until)
    if operator.false_alarm_at and transition != RESOLVED:
        return Decision(Action.DROP, f"marked as a false alarm by {operator.false_alarm_by or '?'}")
    if operator.acknowledged_at and transition == "reminder":
        return Decision(Action.DROP, f"acknowledged by {operator.acknowledged_by or '?'}")
    if alert.severity != CRITICAL:
        ends = [end for window in quiet if (end := window.until(now)) is not None]
        if ends:
            return Decision(Action.HOLD, f"quiet hours until {max(ends).isoformat()}", max(ends))
    return Decision(Action.SEND)


def below_min_authors(alert: Alert, min_authors: int) -> bool:
    """Whether nobody was notified of the alert yet, and fewer than `min_authors` wrote its posts."""
    authors = _distinct_authors(alert)
    return authors is not None and authors < min_authors and alert.notifications.first_at is None


def _distinct_authors(alert: Alert) -> int | None:
    return alert.source_profile.distinct_authors if alert.source_profile else None


@dataclass(frozen=True, slots=True)
class NotificationPolicy:
    """`decide` with the quiet hours, maintenance windows and minimum of authors of the settings."""

    quiet: tuple[QuietHours, ...] = ()
    maintenance: tuple[Maintenance, ...] = ()
    overrides: tuple[KeyOverride, ...] = ()
    min_authors: int = 1

    def decide(self, transition: str, alert: Alert, operator: OperatorState, now: datetime) -> Decision:
        authors = self._min_authors_of(alert)
        return decide(transition, alert, operator, self.quiet, self.maintenance, now, authors)

    def is_below_min_authors(self, alert: Alert) -> bool:
        """Whether the alert waits for more people to write."""
        return below_min_authors(alert, self._min_authors_of(alert))

    def _min_authors_of(self, alert: Alert) -> int:
        return least_authors(self.min_authors, self.overrides, alert.key)
