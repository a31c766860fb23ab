"""What came of an alert's messages, and what people said of it: for the terminal and the console."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pipeline.alerting.decide import operator_state
from pipeline.store.base import Store


def with_operator(store: Store, alert: Mapping[str, Any]) -> dict[str, Any]:
    """The alert with what people said of it, `operator`."""
    return {**alert, "operator": store.state(operator_state(alert["id"])) or {}}


def told(alert: Mapping[str, Any], now: datetime) -> str:
    """Whether people heard of the alert, why not, and what they said; `alert` is one of `with_operator`.

    >>> told({"pending": ["0-opened"], "held": "", "first_notified_at": None, "operator": {}}, datetime.now())
    'not told yet: waits for its channels'
    """
    said, first, last = alert["operator"], alert["first_notified_at"], alert.get("last_notified_at")
    parts = []
    held = alert.get("held")
    if not alert["pending"] and (held or not first):
        parts.append(f"nobody was told: {held}" if held else "nobody was told")
    elif first:
        parts.append(f"told {_moment(first)}" + (f", last {_moment(last)}" if last and last != first else ""))
    if alert["pending"]:
        parts.append(("news " if first else "") + f"not told yet: {held or 'waits for its channels'}")
    if said.get("acknowledged_at"):
        parts.append(f"acknowledged by {said['acknowledged_by']} {_moment(said['acknowledged_at'])}")
    if said.get("snoozed_until") and now < datetime.fromisoformat(said["snoozed_until"]):
        until = _moment(said["snoozed_until"])
        parts.append(f"snoozed until {until} by {said['snoozed_by']}: {said['snooze_reason']}")
    return "; ".join(parts)


def _moment(iso: str) -> str:
    return f"{datetime.fromisoformat(iso):%d %b %H:%M}"
