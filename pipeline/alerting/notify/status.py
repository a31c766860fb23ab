"""What became of an alert's notifications, and what people said about it, in words for terminal and console."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from pipeline.alerting.notify.channels.log import LOG
from pipeline.domain.alert import Alert
from pipeline.domain.delivery import Delivery, DeliveryState, NotificationStatus
from pipeline.domain.operator_state import OperatorState, operator_key
from pipeline.store.protocol import StateStore

_WAITING = frozenset({DeliveryState.PENDING, DeliveryState.RETRYING, DeliveryState.HELD})


def operators(store: StateStore, alerts: Iterable[Alert]) -> dict[str, OperatorState]:
    """What people said about each alert, by its id, in one request to the store."""
    keys = {alert.id: operator_key(alert.id) for alert in alerts}
    said = store.states(list(keys.values()))
    return {alert_id: said.get(key, OperatorState()) for alert_id, key in keys.items()}


def notification_status(alert: Alert, said: OperatorState, now: datetime) -> str:
    """Whether people were notified of the alert, why they were not, and what they `said` about it."""
    status = alert.notifications
    people = [d for d in status.by_channel.values() if d.channel != LOG]
    waiting = [d for d in people if d.state in _WAITING]
    refused = [_refused(d) for d in people if d.state is DeliveryState.REFUSED]
    parts = []
    if status.first_at:
        parts.append(f"notified {_moment(status.first_at)}{_last(status)}")
    elif status.deliveries is None and status.pending:  # as release 0.10.0 wrote it
        parts.append(f"not notified yet: {status.held or 'the alert waits for its channels'}")
    elif not waiting:
        parts.append(f"nobody was notified: {_why_nobody(status, people)}")
        refused = []
    if waiting:
        reasons = ", ".join(dict.fromkeys(map(_waits, waiting)))
        parts.append(f"{'update not sent yet' if status.first_at else 'not notified yet'}: {reasons}")
    parts += refused
    if word := alert.false_alarm:
        parts.append(f"marked as a false alarm by {word.by} {_moment(word.at)}: {word.note}")
    if said.acknowledged_at:
        parts.append(f"acknowledged by {said.acknowledged_by or '?'} {_moment(said.acknowledged_at)}")
    if said.snoozed_until and said.is_snoozed_at(now):
        until, by, why = _moment(said.snoozed_until), said.snoozed_by or "?", said.snooze_reason or ""
        parts.append(f"snoozed until {until} by {by}: {why}")
    if alert.note:
        parts.append(alert.note)
    return "; ".join(parts)


def by_channel(alert: Alert) -> list[str]:
    """What became of the alert at each channel, one line per channel."""
    lines = []
    for d in alert.notifications.by_channel.values():
        tries = f" after {_tries(d)}" if d.attempts > 1 else ""
        at, detail = f" {_moment(d.at)}" if d.at else "", f": {d.detail}" if d.detail else ""
        lines.append(f"{d.channel}: {d.state.value}{at}{tries}{detail}")
    return lines


def _last(status: NotificationStatus) -> str:
    return f", last {_moment(status.last_at)}" if status.last_at and status.last_at != status.first_at else ""


def _why_nobody(status: NotificationStatus, people: Sequence[Delivery]) -> str:
    if status.deliveries is None:
        return status.held or "release 0.10.0 did not say why"
    if not people:
        return "no channel is configured (alerts.channels)"
    if all(d.state is DeliveryState.NO_ROUTE for d in people):
        return f"no route takes it ({', '.join(d.channel for d in people)})"
    return ", ".join(dict.fromkeys(filter(None, map(_why_not, people))))


def _why_not(d: Delivery) -> str:
    if d.state is DeliveryState.REFUSED:
        return _refused(d)
    return f"no route to {d.channel}" if d.state is DeliveryState.NO_ROUTE else d.detail


def _refused(d: Delivery) -> str:
    return f"{d.channel} refused it ({d.detail})"


def _waits(d: Delivery) -> str:
    if d.state is DeliveryState.RETRYING:
        return f"{d.channel} retries after {_tries(d)} ({d.detail})"
    return d.detail if d.state is DeliveryState.HELD else f"the alert waits for {d.channel}"


def _tries(d: Delivery) -> str:
    return f"{d.attempts} {'try' if d.attempts == 1 else 'tries'}"


def _moment(at: datetime) -> str:
    return f"{at:%d %b %H:%M}"
