"""The queue of one channel: it sends what is due at the channel's own pace, whatever the other channels do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

from pipeline.alerting.notify.attempt import Result, attempt
from pipeline.alerting.notify.backoff import Backoff
from pipeline.alerting.notify.batching import Batching
from pipeline.alerting.notify.changes import delivered, failed
from pipeline.alerting.notify.channel import Channel, StatefulChannel
from pipeline.alerting.notify.context import QueueContext
from pipeline.alerting.notify.outbox import Route
from pipeline.alerting.notify.refresher import Refresher
from pipeline.alerting.notify.screening import Screening
from pipeline.domain.alert import Alert
from pipeline.domain.delivery import DeliveryState

#: Seconds within which the queue notices what people or another process changed.
POLL_S = 30.0
#: Seconds until a message that the receiver refused is tried again.
REFUSED_S = 3600.0
#: After this many refusals in a row, the rest of the round is not tried.
MAX_REFUSALS = 3
#: Alerts of one round.
LIMIT = 500
#: Refreshes that a channel that keeps state may miss if its receiver asks for a wait.
MAX_MISSED_REFRESHES = 10


class ChannelQueue:
    """Call `wake` when something may be due; `idle` says whether nothing waits that could be tried now."""

    def __init__(self, channel: Channel, takes: Route, context: QueueContext) -> None:
        """`takes` is the route of the channel; `channel` is the channel without it."""
        self._channel, self._context = channel, context
        self._stateful = channel if isinstance(channel, StatefulChannel) else None
        self._screening = Screening(channel, takes, context)
        self._batching = Batching(channel.name, None if self._stateful else context.group_above)
        self._refresher = Refresher(self._stateful, context) if self._stateful else None
        self._backoff = Backoff(context.monotonic)
        self._woken = asyncio.Event()
        self._busy = False
        for outcome in ("sent", "retried", "refused", "suppressed"):
            context.metrics.notifications.labels(channel.name, outcome)

    @property
    def idle(self) -> bool:
        return self._backoff.is_resting or not self._busy

    def wake(self) -> None:
        self._busy = True
        self._woken.set()

    async def run(self) -> None:
        """Runs until it is cancelled."""
        while True:
            wait_s = await self.deliver()
            if self._backoff.is_resting:  # a receiver that asked for a wait gets it, whatever else comes up
                await asyncio.sleep(wait_s)
                continue
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), wait_s)

    async def deliver(self) -> float:
        """Runs one round; returns the seconds until the next unless `wake` is called before."""
        pending = self._context.metrics.notifications_pending.labels(self._channel.name)
        if not self._context.holds():
            pending.set(0)
            return POLL_S
        if self._backoff.is_resting:
            return self._backoff.remaining_s
        self._woken.clear()
        if self._refresher:
            await self._refresher.refresh()
        due = await self._context.outbox.due(self._channel.name, LIMIT)
        pending.set(len(due))
        screened = [await self._screening.screen(alert) for alert in due]
        await self._send([alert for alert in screened if alert is not None])
        self._busy = len(due) == LIMIT or self._woken.is_set()
        if self._backoff.is_resting:
            return self._backoff.remaining_s
        if len(due) == LIMIT:
            return 0.0
        return min(POLL_S, self._refresher.due_in_s) if self._refresher else POLL_S

    async def _send(self, alerts: Sequence[Alert]) -> None:
        refusals, result = 0, Result(DeliveryState.PENDING)
        for notice, members in self._batching.notices(alerts):
            if not self._context.holds():
                return
            tried = refusals < MAX_REFUSALS
            if tried:
                result = await attempt(self._channel, notice, self._context.metrics)
                refusals = refusals + 1 if result.state is DeliveryState.REFUSED else 0
            for alert in members:
                await self._note(alert, result, tried=tried)
            if result.state is DeliveryState.RETRYING:
                self._batching.failed(members)
                self._backoff.failed(self._allowed(result.wait_s))
                return
            self._batching.settled(members)
            self._backoff.succeeded()

    def _allowed(self, wait_s: float) -> float:
        """The wait that a receiver asks for, unless open alerts would end there meanwhile."""
        return min(wait_s, MAX_MISSED_REFRESHES * self._stateful.refresh_s) if self._stateful else wait_s

    async def _note(self, sent: Alert, result: Result, *, tried: bool) -> None:
        now, name = self._context.now(), self._channel.name
        detail = result.detail if tried else f"not tried after {MAX_REFUSALS} refusals: {result.detail}"

        def change(alert: Alert) -> Alert:
            if result.state is DeliveryState.DELIVERED:
                return delivered(alert, sent, name, now)
            due = now + timedelta(seconds=REFUSED_S) if result.state is DeliveryState.REFUSED else None
            return failed(alert, name, result.state, detail, due, now, tried=tried)

        await self._context.outbox.change(sent.id, change)
