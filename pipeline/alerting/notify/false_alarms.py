"""How an alert changes when a person says that it is false, and when that word is taken back. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from pipeline.alerting.notify.changes import pending
from pipeline.alerting.notify.deliveries import has_update, whole_seconds, with_deliveries
from pipeline.domain.alert import OPEN, RESOLVED, Alert
from pipeline.domain.delivery import AT_ONCE, DeliveryState, FalseAlarm


def closed_as_false_alarm(alert: Alert, by: str, note: str, now: datetime) -> Alert:
    """The alert closed by a person; its episode may go on behind that."""
    at = whole_seconds(now)
    if alert.false_alarm:
        return replace(alert, false_alarm=replace(alert.false_alarm, at=at, by=by, note=note))
    ended = alert.resolved_at
    false_alarm = FalseAlarm(at=at, by=by, note=note, ended_at=ended)
    closed = replace(alert, false_alarm=false_alarm, state=RESOLVED, resolved_at=ended or at)
    return _due_where_changed(closed, at)


def reopened(alert: Alert) -> Alert:
    """The alert without the word that it is false: open, unless its episode has ended meanwhile.

    A channel that sent nothing because of that word sends the alert now.
    """
    word = alert.false_alarm
    if word is None:
        return alert
    ended = word.ended_at
    reopened_alert = replace(alert, false_alarm=None, state=RESOLVED if ended else OPEN, resolved_at=ended)
    found = dict(reopened_alert.notifications.by_channel)
    for name, d in found.items():
        suppressed = d.state is DeliveryState.SUPPRESSED and not d.notified_as
        if suppressed and not ended and d.at is not None and d.at >= word.at:
            found[name] = replace(d, state=DeliveryState.PENDING, detail="", sequence=-1, due_at=AT_ONCE)
    return _due_where_changed(with_deliveries(reopened_alert, found), word.at)


def _due_where_changed(alert: Alert, at: datetime) -> Alert:
    """The alert with an update queued at the channels that have notified people; the other channels look again."""
    found = dict(alert.notifications.by_channel)
    for name, d in found.items():
        if d.notified_as and has_update(alert, d):
            found[name] = pending(d, at)
        elif d.due_at is not None:
            found[name] = replace(d, due_at=AT_ONCE)
    return with_deliveries(alert, found)
