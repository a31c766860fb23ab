"""How an alert changes when it is queued, delivered, refused, held or suppressed at a channel. Pure.

Every function takes the alert as the store has it, which another process may have changed meanwhile, and returns a new
one. `now` is of the wall clock.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime

from pipeline.alerting.notify.channels.log import LOG
from pipeline.alerting.notify.deliveries import delivery_of, has_update, whole_seconds, with_deliveries, with_delivery
from pipeline.domain.alert import Alert
from pipeline.domain.delivery import AT_ONCE, Delivery, DeliveryState


def queued(
    alert: Alert, routes: Mapping[str, Callable[[Alert], bool]], now: datetime, removed: Collection[str] = ()
) -> Alert:
    """The alert with an update queued at every channel whose route takes it.

    `routes` say so by the name of the channel; the channels in `removed` are no longer in the settings.
    """
    at, found = whole_seconds(now), dict(alert.notifications.by_channel)
    for name, takes in routes.items():
        delivery = found.get(name, Delivery(name))
        if not has_update(alert, delivery):
            found[name] = delivery
        elif takes(alert):
            found[name] = pending(delivery, at)
        else:
            detail = "the route of the channel takes other alerts (severities, keys, lanes)"
            found[name] = replace(delivery, state=DeliveryState.NO_ROUTE, at=at, detail=detail, due_at=None)
    for name in removed:
        if found[name].due_at is not None:
            detail = "the channel is not in the settings any more"
            found[name] = replace(found[name], state=DeliveryState.SUPPRESSED, at=at, detail=detail, due_at=None)
    return with_deliveries(alert, found)


def pending(delivery: Delivery, at: datetime) -> Delivery:
    """The delivery with an update that waits for its first attempt."""
    return replace(delivery, state=DeliveryState.PENDING, at=at, attempts=0, detail="", due_at=AT_ONCE)


def delivered(alert: Alert, sent: Alert, channel: str, now: datetime) -> Alert:
    """The alert after the channel delivered `sent`."""
    before = delivery_of(alert, channel)
    if before.sequence > sent.sequence:
        return alert  # another process has delivered more by now
    at = whole_seconds(now)
    after = replace(
        before,
        state=DeliveryState.DELIVERED,
        at=at,
        attempts=before.attempts + 1,
        detail="",
        sequence=sent.sequence,
        notified_as=sent.level,
        due_at=None,
    )
    if has_update(alert, after):
        after = replace(after, state=DeliveryState.PENDING, attempts=0, due_at=AT_ONCE)
    if channel != LOG:
        status = alert.notifications
        alert = replace(alert, notifications=replace(status, first_at=status.first_at or at, last_at=at))
    return with_delivery(alert, after)


def failed(
    alert: Alert,
    channel: str,
    state: DeliveryState,
    detail: str,
    due: datetime | None,
    now: datetime,
    *,
    tried: bool = True,
) -> Alert:
    """The alert that the channel did not deliver; it tries again at `due`, or as soon as it can.

    It was not `tried` if the receiver had just refused others. What another process delivered meanwhile stays.
    """
    before = delivery_of(alert, channel)
    if not has_update(alert, before):
        return alert
    after = replace(
        before,
        state=state,
        at=whole_seconds(now),
        attempts=before.attempts + tried,
        detail=detail,
        due_at=AT_ONCE if due is None else whole_seconds(due),
    )
    return with_delivery(alert, after)


def held(alert: Alert, channel: str, reason: str, until: datetime, now: datetime) -> Alert:
    """The alert that waits at this channel until `until`; it has been held since `reason` began."""
    before = delivery_of(alert, channel)
    same = before.state is DeliveryState.HELD and before.detail == reason
    since = before.at if same else whole_seconds(now)
    after = replace(before, state=DeliveryState.HELD, at=since, detail=reason, due_at=whole_seconds(until))
    return with_delivery(alert, after)


def suppressed(alert: Alert, seen: Alert, channel: str, reason: str, now: datetime) -> Alert:
    """The alert after the channel decided never to send `seen`."""
    before = delivery_of(alert, channel)
    state = DeliveryState.DELIVERED if before.notified_as and not reason else DeliveryState.SUPPRESSED
    after = replace(before, state=state, at=whole_seconds(now), detail=reason, sequence=seen.sequence, due_at=None)
    if alert.sequence > after.sequence:
        after = replace(after, state=DeliveryState.PENDING, due_at=AT_ONCE)
    return with_delivery(alert, after)


def due_now(alert: Alert) -> Alert:
    """The alert after a person changed what it waits for: every channel that holds it looks again."""
    found = alert.notifications.by_channel
    if not any(d.state is DeliveryState.HELD for d in found.values()):
        return alert
    looked_at = {n: replace(d, due_at=AT_ONCE) if d.state is DeliveryState.HELD else d for n, d in found.items()}
    return with_deliveries(alert, looked_at)
