"""The outbox of every channel, kept in the alert documents: changed only from the state that stands in the store.

Whatever another process, an operator or another channel wrote meanwhile is kept: a change is made again from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from models.json_types import JsonObject
from pipeline.alerting.notify.deliveries import Delivery, State, of, queued, standing
from pipeline.domain.states import StateKey
from pipeline.store.protocol import NotificationStore

#: Open alerts that a channel which keeps state is told of again.
OPEN = 5000
Retry = Callable[[Callable[[], Any]], Awaitable[Any]]
Change = Callable[[dict[str, Any]], dict[str, Any] | None]
Takes = Callable[[Mapping[str, Any]], bool]


class Outbox:
    """`takes` says by channel whether its route lets an alert through; `retry` runs a blocking call until it succeeds.

    `filling` is held while alerts are added that belong together, and while a channel looks for what is due.
    """

    def __init__(
        self, store: NotificationStore, takes: Mapping[str, Takes], retry: Retry, now: Callable[[], datetime]
    ) -> None:
        self._store, self._takes, self._retry, self._now = store, takes, retry, now
        self.filling = asyncio.Lock()

    async def put(self, alert_id: str, document: Mapping[str, Any]) -> bool:
        """Adds a transition, due at every channel that takes it; False where the store has that transition already."""

        def change(there: dict[str, Any]) -> dict[str, Any] | None:
            if there and there["sequence"] >= document["sequence"]:
                return None
            kept = {name: there[name] for name in ("first_notified_at", "last_notified_at") if there.get(name)}
            merged = {**document, **kept, "notifications": there.get("notifications", [])}
            if false_alarm := there.get("false_alarm"):
                # A person closed it: the episode goes on behind that, so that the word can be taken back.
                ended = {**false_alarm, "ended_at": document["resolved_at"]}
                merged |= {"false_alarm": ended, "state": there["state"], "resolved_at": there["resolved_at"]}
            return queued(merged, self._takes, self._now(), gone=of(merged).keys() - self._takes.keys())

        return await self.change(alert_id, change) is not None

    async def change(self, alert_id: str, change: Change) -> dict[str, Any] | None:
        """The alert after `change`, which gets the document there is ({} for none); None where it changes nothing."""
        while True:
            there = await self._retry(lambda: self._store.alert(alert_id)) or {}
            revision = there.get("revision", 0)
            changed = change({k: v for k, v in there.items() if k != "id"})
            if changed is None:
                return None
            changed = {**changed, "revision": revision + 1}
            if await self._retry(lambda document=changed: self._store.put_alert(alert_id, document)):  # type: ignore[misc]
                return {**changed, "id": alert_id}

    async def due(self, channel: str, limit: int) -> list[dict[str, Any]]:
        """The alerts that the channel has to be told of now, at most `limit`."""
        async with self.filling:
            found: list[dict[str, Any]] = await self._retry(lambda: self._store.due_alerts(channel, self._now(), limit))
        return found

    async def open(self) -> list[dict[str, Any]]:
        """The alerts that are open, the newest first."""
        found: list[dict[str, Any]] = await self._retry(lambda: self._store.alerts(open_only=True, limit=OPEN))
        return found

    async def operator(self, key: StateKey[JsonObject]) -> JsonObject:
        """What people said of an alert, from the store."""
        return dict(await self._retry(lambda: self._store.state(key)) or {})

    async def resume(self) -> None:
        """Call when this process begins to notify: channels may have been added, mended or taken away meanwhile."""
        for alert in await self._retry(lambda: list(self._store.unsettled_alerts())):
            if self._resumed(alert) is not None:
                await self.change(alert["id"], self._resumed)

    def _resumed(self, alert: dict[str, Any]) -> dict[str, Any] | None:
        older = "notifications" not in alert
        if older and alert.get("first_notified_at") and not alert.get("pending"):
            # An older release told everybody.
            told = Delivery(
                "", State.DELIVERED, alert["last_notified_at"] or "", 1, "", alert["sequence"], standing(alert)
            )
            everybody = [replace(told, channel=name).to_json() for name in self._takes]
            alert = {**alert, "notifications": everybody}
        asked = {n: t for n, t in self._takes.items() if alert["state"] == "open" or older or n in alert["pending"]}
        resumed = queued(alert, asked, self._now(), gone=of(alert).keys() - self._takes.keys())
        return None if resumed == alert else resumed
