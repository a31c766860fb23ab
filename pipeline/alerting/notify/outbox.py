"""The outbox of every channel, which the alerts in the store hold.

A change is always made to the alert that the store has: if another process, a person or another channel wrote it
meanwhile, the change is made again to what they wrote.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Protocol, TypeVar

from pipeline.alerting.notify.changes import queued
from pipeline.domain.alert import Alert
from pipeline.domain.delivery import Delivery, DeliveryState
from pipeline.domain.operator_state import OperatorState, operator_key
from pipeline.store.protocol import NotificationStore

#: Open alerts that are refreshed at a channel that keeps state.
MAX_OPEN = 5000
T = TypeVar("T")
Change = Callable[[Alert], Alert | None]
Route = Callable[[Alert], bool]


class Retry(Protocol):
    """Runs a blocking call until it succeeds."""

    def __call__(self, call: Callable[[], T], /) -> Awaitable[T]: ...


class Outbox:
    """`routes` say by channel whether its route takes an alert; `retry` runs a blocking call until it succeeds.

    `filling` is locked while alerts that belong together are added, and while a channel looks for what is due.
    """

    def __init__(
        self, store: NotificationStore, routes: Mapping[str, Route], retry: Retry, now: Callable[[], datetime]
    ) -> None:
        self._store, self._routes, self._retry, self._now = store, routes, retry, now
        self.filling = asyncio.Lock()

    async def put(self, alert: Alert) -> bool:
        """Adds a transition, due at every channel that takes it; returns False if the store has it already."""

        def change(there: Alert | None) -> Alert | None:
            if there is None:
                return self._queued(alert)
            return None if there.sequence >= alert.sequence else self._queued(_continued(alert, there))

        return await self._write(alert.id, change) is not None

    async def change(self, alert_id: str, change: Change) -> Alert | None:
        """Changes a stored alert; returns None if it does not exist or `change` returns None."""
        return await self._write(alert_id, lambda there: change(there) if there else None)

    async def due(self, channel: str, limit: int) -> list[Alert]:
        """At most `limit` alerts that the channel has to look at now."""
        async with self.filling:
            return await self._retry(lambda: self._store.due_alerts(channel, self._now(), limit))

    async def open(self) -> list[Alert]:
        """The open alerts, newest first."""
        return await self._retry(lambda: self._store.alerts(open_only=True, limit=MAX_OPEN))

    async def operator(self, alert_id: str) -> OperatorState:
        """What people said about an alert."""
        return await self._retry(lambda: self._store.state(operator_key(alert_id))) or OperatorState()

    async def resume(self) -> None:
        """Queues what the settings add or remove; call it when this process begins to notify."""
        for alert in await self._retry(lambda: list(self._store.unsettled_alerts())):
            if self._resumed(alert) is not None:
                await self.change(alert.id, self._resumed)

    async def _write(self, alert_id: str, change: Callable[[Alert | None], Alert | None]) -> Alert | None:
        while True:
            there = await self._retry(lambda: self._store.alert(alert_id))
            changed = change(there)
            if changed is None:
                return None
            written = replace(changed, revision=((there.revision if there else None) or 0) + 1)
            if await self._retry(lambda alert=written: self._store.put_alert(alert)):  # type: ignore[misc]
                return written

    def _queued(self, alert: Alert) -> Alert:
        removed = alert.notifications.by_channel.keys() - self._routes.keys()
        return queued(alert, self._routes, self._now(), removed=removed)

    def _resumed(self, alert: Alert) -> Alert | None:
        status = alert.notifications
        older = status.deliveries is None
        if older and status.first_at and not status.pending:
            # Release 0.10.0 notified every channel of an alert or none.
            settled = Delivery("", DeliveryState.DELIVERED, status.last_at, 1, "", alert.sequence, alert.level)
            everyone = tuple(replace(settled, channel=name) for name in self._routes)
            alert = replace(alert, notifications=replace(status, deliveries=everyone))
        pending = status.pending or ()
        asked = {n: route for n, route in self._routes.items() if alert.is_open or older or n in pending}
        removed = alert.notifications.by_channel.keys() - self._routes.keys()
        resumed = queued(alert, asked, self._now(), removed=removed)
        return None if resumed == alert else resumed


def _continued(alert: Alert, there: Alert) -> Alert:
    """The new transition of the alert `there`, with its deliveries and with the word of a person on it."""
    new, stored = alert.notifications, there.notifications
    status = replace(
        new,
        first_at=stored.first_at or new.first_at,
        last_at=stored.last_at or new.last_at,
        deliveries=stored.deliveries,
    )
    merged = replace(alert, notifications=status)
    if there.false_alarm is None:
        return merged
    # A person closed it: the episode goes on behind that, so that the word can be taken back.
    false_alarm = replace(there.false_alarm, ended_at=alert.resolved_at)
    return replace(merged, false_alarm=false_alarm, state=there.state, resolved_at=there.resolved_at)
