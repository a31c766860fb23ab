"""Whether a transition is told now, later or never, and why. Pure; times are of the wall clock.

- too few authors: nothing until there are more; nothing at all where it ends before
- acknowledged: no more reminders; an escalation and the resolution are still told
- snoozed: nothing until the snooze ends; then the last thing that is still true
- quiet hours: warnings wait for their end; critical alerts do not
- maintenance: nothing is told of the keys it names; it is not made up for later
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any
from zoneinfo import ZoneInfo

WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def operator_state(alert_id: str) -> str:
    """The name of the store's state that holds what people said of an alert; nobody but people writes it."""
    return f"operator-{alert_id}"


class Tell(Enum):
    """Now, not yet, or not at all."""

    SEND = "send"
    HOLD = "hold"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Decision:
    """`reason` is for people: it stands in the alert while it is held."""

    tell: Tell
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Quiet:
    """Every day of `days` from `start` to `end` (over midnight where end <= start) in `zone`."""

    start: time
    end: time
    zone: str
    days: tuple[str, ...] = WEEK

    def until(self, now: datetime) -> datetime | None:
        """When the quiet that covers `now` ends; None where none does."""
        local = now.astimezone(ZoneInfo(self.zone))
        for back in (0, 1):
            day = local.date() - timedelta(days=back)
            begin = datetime.combine(day, self.start, local.tzinfo)
            end = datetime.combine(day, self.end, local.tzinfo)
            end += timedelta(days=end <= begin)
            if WEEK[day.weekday()] in self.days and begin <= local < end:
                return end
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
    quiet: Sequence[Quiet],
    maintenance: Sequence[Maintenance],
    now: datetime,
    min_authors: int = 1,
) -> Decision:
    """`operator` is what a person said of this alert: `acknowledged_at`, `snoozed_until` (ISO 8601), or nothing.

    What was told once stays news, however few its authors are by then.
    """
    for window in maintenance:
        if window.start <= now < window.end and any(fnmatchcase(alert["key"], p) for p in window.keys):
            return Decision(Tell.DROP, f"maintenance until {window.end.isoformat()}: {window.reason}".rstrip(": "))
    if too_narrow(alert, min_authors):
        reason = f"{alert['spread']['voices']} of {min_authors} authors (alerts.min_authors)"
        return Decision(Tell.DROP if transition == "resolved" else Tell.HOLD, reason)
    snoozed = operator.get("snoozed_until")
    if snoozed and now < datetime.fromisoformat(snoozed):
        return Decision(Tell.HOLD, f"snoozed until {snoozed}")
    if operator.get("acknowledged_at") and transition == "reminder":
        return Decision(Tell.DROP, f"acknowledged by {operator.get('acknowledged_by', '?')}")
    if alert["severity"] != "critical":
        ends = [end for window in quiet if (end := window.until(now)) is not None]
        if ends:
            return Decision(Tell.HOLD, f"quiet hours until {max(ends).isoformat()}")
    return Decision(Tell.SEND)


def too_narrow(alert: Mapping[str, Any], min_authors: int) -> bool:
    """Whether nobody was told of the alert yet, and fewer than `min_authors` wrote its posts.

    >>> too_narrow({"first_notified_at": None, "spread": {"voices": 1}}, 2)
    True
    """
    voices = (alert.get("spread") or {}).get("voices", min_authors)
    return bool(voices < min_authors and not alert["first_notified_at"])


def worth_telling(pending: Sequence[str]) -> list[str]:
    """Of transitions that waited together, what is still news: an end makes what came before it none.

    `pending` holds `SEQUENCE-TRANSITION`, in order.

    >>> worth_telling(["0-opened", "1-reminder", "2-escalated"])
    ['0-opened', '2-escalated']
    >>> worth_telling(["0-opened", "1-resolved"])
    ['1-resolved']
    """
    if pending and pending[-1].endswith("-resolved"):
        return [pending[-1]]
    kept = [p for p in pending if not p.endswith("-reminder")]
    return kept or list(pending[-1:])
