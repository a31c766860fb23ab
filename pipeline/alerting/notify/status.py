"""What came of an alert's messages, and what people said of it: for the terminal and the console."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pipeline.alerting.notify.deliveries import Delivery, State, of
from pipeline.alerting.notify.log import LOG
from pipeline.alerting.notify.policy import operator_state
from pipeline.store.protocol import StateStore


def operators(store: StateStore, alerts: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """What people said of each alert, by its id; the store is asked once."""
    names = {alert["id"]: operator_state(alert["id"]) for alert in alerts}
    said = store.states(list(names.values()))
    return {alert_id: said.get(name, {}) for alert_id, name in names.items()}


def with_operator(store: StateStore, alert: Mapping[str, Any]) -> dict[str, Any]:
    """The alert with what people said of it, `operator`."""
    return {**alert, "operator": operators(store, [alert])[alert["id"]]}


def told(alert: Mapping[str, Any], now: datetime) -> str:
    """Whether people heard of the alert, where not and why, and what they said; `alert` is one of `with_operator`.

    >>> told({"notifications": [], "first_notified_at": None, "operator": {}}, datetime.now())
    'nobody was notified: no channel is configured (alerts.channels)'
    """
    said, first, last = alert["operator"], alert.get("first_notified_at"), alert.get("last_notified_at")
    people = [d for d in of(alert).values() if d.channel != LOG]
    waits = [d for d in people if d.state in {State.PENDING, State.RETRYING, State.HELD}]
    refused = [_refused(d) for d in people if d.state is State.REFUSED]
    parts = []
    if first:
        parts.append(f"told {_moment(first)}" + (f", last {_moment(last)}" if last and last != first else ""))
    elif "notifications" not in alert and alert.get("pending"):  # of an older release
        parts.append(f"not told yet: {alert.get('held') or 'waits for its channels'}")
    elif not waits:
        parts.append(f"nobody was notified: {_why_nobody(alert, people)}")
        refused = []
    if waits:
        reasons = list(dict.fromkeys(map(_waits, waits)))
        parts.append(("news " if first else "") + f"not told yet: {', '.join(reasons)}")
    parts += refused
    if false_alarm := alert.get("false_alarm"):
        parts.append(f"a false alarm, says {false_alarm['by']} {_moment(false_alarm['at'])}: {false_alarm['note']}")
    if said.get("acknowledged_at"):
        parts.append(f"acknowledged by {said['acknowledged_by']} {_moment(said['acknowledged_at'])}")
    if said.get("snoozed_until") and now < datetime.fromisoformat(said["snoozed_until"]):
        until = _moment(said["snoozed_until"])
        parts.append(f"snoozed until {until} by {said['snoozed_by']}: {said['snooze_reason']}")
    if alert.get("note"):
        parts.append(alert["note"])
    return "; ".join(parts)


def by_channel(alert: Mapping[str, Any]) -> list[str]:
    """What became of the alert at each channel, a line each."""
    lines = []
    for d in of(alert).values():
        tries = f" after {d.attempts} {'try' if d.attempts == 1 else 'tries'}" if d.attempts > 1 else ""
        at, detail = f" {_moment(d.at)}" if d.at else "", f": {d.detail}" if d.detail else ""
        lines.append(f"{d.channel}: {d.state.value}{at}{tries}{detail}")
    return lines


def _why_nobody(alert: Mapping[str, Any], people: Sequence[Delivery]) -> str:
    if "notifications" not in alert:
        return alert.get("held") or "an older release did not say why"
    if not people:
        return "no channel is configured (alerts.channels)"
    if all(d.state is State.NO_ROUTE for d in people):
        return f"no route takes it ({', '.join(d.channel for d in people)})"
    reasons = [
        _refused(d)
        if d.state is State.REFUSED
        else f"no route to {d.channel}"
        if d.state is State.NO_ROUTE
        else d.detail
        for d in people
    ]
    return ", ".join(dict.fromkeys(filter(None, reasons)))


def _refused(d: Delivery) -> str:
    return f"{d.channel} refused it ({d.detail})"


def _waits(d: Delivery) -> str:
    if d.state is State.RETRYING:
        return f"{d.channel} retries after {d.attempts} {'try' if d.attempts == 1 else 'tries'} ({d.detail})"
    return d.detail if d.state is State.HELD else f"waits for {d.channel}"


def _moment(iso: str) -> str:
    return f"{datetime.fromisoformat(iso):%d %b %H:%M}"
