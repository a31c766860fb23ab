"""What each channel knows of an alert, and what it has still to send. Pure.

A channel reports the current level of the alert, not everything that happened in between: it has an update to send if
the alert is not at the level that its receiver knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from pipeline.alerting.notify.channels.log import LOG
from pipeline.domain.alert import CRITICAL, RESOLVED, WARNING, Alert
from pipeline.domain.delivery import Delivery, DeliveryState

#: Characters of the reason why nobody was notified; the index keeps no longer keywords.
MAX_REASON = 1000


def delivery_of(alert: Alert, channel: str) -> Delivery:
    """The delivery of an alert to a channel, which may not have begun."""
    return alert.notifications.by_channel.get(channel, Delivery(channel))


def has_update(alert: Alert, delivery: Delivery) -> bool:
    """Whether the receiver does not know the current level of the alert, or a later transition."""
    if delivery.notified_as == alert.level == RESOLVED:
        return False
    changed = bool(delivery.notified_as) and delivery.notified_as != alert.level
    return changed or alert.sequence > delivery.sequence


def transition_for(alert: Alert, delivery: Delivery) -> str:
    """The transition from the level that the receiver knows to the current one."""
    if alert.level == RESOLVED:
        return RESOLVED
    if not delivery.notified_as:
        return "opened"
    return "escalated" if (delivery.notified_as, alert.level) == (WARNING, CRITICAL) else "reminder"


def idempotency_key(alert: Alert, transition: str) -> str:
    """The key of a message, which is the same for every attempt to send the same update."""
    return f"{alert.id}#{alert.sequence}-{transition}"


def with_deliveries(alert: Alert, deliveries: Mapping[str, Delivery]) -> Alert:
    """The alert with these deliveries by channel, and with what follows from them."""
    every, status = tuple(deliveries.values()), alert.notifications
    waiting = [d.detail for d in every if d.state is DeliveryState.HELD]
    dropped = [d.detail for d in every if d.state is DeliveryState.SUPPRESSED and not d.notified_as]
    reasons = waiting if status.first_at else [*waiting, *dropped]
    return replace(
        alert,
        notifications=replace(
            status,
            deliveries=every,
            pending=tuple(d.channel for d in every if d.due_at is not None),
            held=next(iter(reasons), ""),
            unnotified=unnotified(alert, every),
        ),
    )


def with_delivery(alert: Alert, delivery: Delivery) -> Alert:
    """The alert with this delivery in place of the channel's last one."""
    return with_deliveries(alert, {**alert.notifications.by_channel, delivery.channel: delivery})


def unnotified(alert: Alert, deliveries: Sequence[Delivery]) -> str:
    """Why no channel that people read has notified anybody or will; empty if one has or may."""
    people = [d for d in deliveries if d.channel != LOG]
    final = {DeliveryState.REFUSED, DeliveryState.NO_ROUTE}
    if alert.notifications.first_at or any(d.state not in final for d in people):
        return ""
    if not people:
        return "no channel is configured (alerts.channels)"
    return "; ".join(f"{d.channel}: {d.state.value}, {d.detail}".rstrip(", ") for d in people)[:MAX_REASON]


def whole_seconds(moment: datetime) -> datetime:
    """The moment as deliveries keep it."""
    return moment.replace(microsecond=0)
