"""One channel's queue: what is due is sent at the channel's own pace, whatever the other channels do."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pipeline.alerting.alerts.grouping import group_document
from pipeline.alerting.notify.channel import Channel, Notice, StatefulChannel
from pipeline.alerting.notify.deliveries import (
    RESOLVED,
    Delivery,
    State,
    delivered,
    failed,
    held,
    is_news,
    key_of,
    of,
    queued,
    suppressed,
    transition_for,
)
from pipeline.alerting.notify.outbox import Outbox, Takes
from pipeline.alerting.notify.policy import Action, NotificationPolicy, operator_state
from pipeline.domain.errors import Fatal, Transient
from pipeline.domain.metrics import Metrics

log = logging.getLogger(__name__)
#: What people or another process changed is noticed within it, and what waits without a known end is looked at again.
POLL_S = 30.0
#: A channel that is down is tried so often, at the least; one that refuses, after so long.
BACKOFF_S, REFUSED_S = 30.0, 3600.0
#: After so many refusals in a row the rest of the queue is not tried in this round.
REFUSALS = 3
LIMIT = 500
#: A channel that keeps state may miss so many refreshes for a wait that it asks for.
REFRESHES = 10
#: Of an alert's document, what is nobody's business but ours.
_OURS = frozenset({"notifications", "pending", "held", "unnotified", "revision"})

Facts = Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the queues of all channels share. `facts` looks again who wrote an alert's posts.

    `holds` says whether this process is the one that notifies. `now` is of the wall clock, `monotonic` in seconds.
    """

    outbox: Outbox
    policy: NotificationPolicy
    facts: Facts
    holds: Callable[[], bool]
    metrics: Metrics
    group_above: int
    now: Callable[[], datetime]
    monotonic: Callable[[], float] = time.monotonic


@dataclass(frozen=True, slots=True)
class _Result:
    """Of one try; `wait_s` is what the channel asks for before the next."""

    state: State
    detail: str = ""
    wait_s: float = 0.0


class ChannelQueue:
    """Call `wake` when something may be due; `idle` says that nothing waits that could be tried now."""

    def __init__(self, channel: Channel, takes: Takes, shared: Surroundings) -> None:
        """`channel` is the channel itself, without its route, which `takes` is."""
        self.channel, self._takes, self._shared = channel, takes, shared
        self._woken = asyncio.Event()
        self._failures = 0
        self._not_before = 0.0
        self._refresh_at = 0.0
        #: The alerts of a group message of which nobody knows whether the receiver has it.
        self._tried: frozenset[str] = frozenset()
        self._busy = False
        for outcome in ("sent", "retried", "refused", "suppressed"):
            shared.metrics.notifications.labels(channel.name, outcome)

    @property
    def idle(self) -> bool:
        return self._resting() or not self._busy

    def wake(self) -> None:
        self._busy = True
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            wait_s = await self.deliver()
            if self._resting():  # a channel that asked for a wait gets it, whatever else comes up
                await asyncio.sleep(wait_s)
                continue
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), wait_s)

    async def deliver(self) -> float:
        """One round; the seconds until the next, unless woken before."""
        if not self._shared.holds():
            self._shared.metrics.notifications_pending.labels(self.channel.name).set(0)
            return POLL_S
        if self._resting():
            return self._not_before - self._shared.monotonic()
        self._woken.clear()
        await self._refresh()
        due = await self._shared.outbox.due(self.channel.name, LIMIT)
        self._shared.metrics.notifications_pending.labels(self.channel.name).set(len(due))
        await self._send([alert for alert in [await self._examined(a) for a in due] if alert is not None])
        self._busy = len(due) == LIMIT or self._woken.is_set()
        if self._resting():
            return max(0.0, self._not_before - self._shared.monotonic())
        return 0.0 if len(due) == LIMIT else min(POLL_S, self._until_refresh())

    def _resting(self) -> bool:
        return self._shared.monotonic() < self._not_before

    async def _send(self, alerts: Sequence[dict[str, Any]]) -> None:
        refusals, result = 0, _Result(State.PENDING)
        for notice, members in self._messages(alerts):
            if not self._shared.holds():
                return
            tried = refusals < REFUSALS
            if tried:
                result = await self._attempt(notice)
                refusals = refusals + 1 if result.state is State.REFUSED else 0
            for alert in members:
                await self._note(alert, result, tried=tried)
            grouped = len(members) > 1
            if result.state is State.RETRYING:
                self._tried = frozenset(a["id"] for a in members) if grouped else self._tried
                self._failures += 1
                backoff = min(BACKOFF_S, 0.5 * 2 ** min(self._failures, 10))
                self._not_before = self._shared.monotonic() + max(self._allowed(result.wait_s), backoff)
                return
            self._failures = 0
            self._tried = frozenset() if grouped else self._tried

    def _allowed(self, wait_s: float) -> float:
        """What a receiver asks for, but for one that would take for ended meanwhile what is open."""
        channel = self.channel
        return min(wait_s, REFRESHES * channel.refresh_s) if isinstance(channel, StatefulChannel) else wait_s

    async def _examined(self, alert: dict[str, Any]) -> dict[str, Any] | None:
        """The alert where the channel is told of it now; what it is told otherwise, and when, is written down."""
        shared, name, now = self._shared, self.channel.name, self._shared.now()
        delivery = self._delivery(alert)
        transition = transition_for(alert, delivery)
        if not is_news(alert, delivery):  # what was due has been taken back
            await shared.outbox.change(alert["id"], lambda a: suppressed(a, alert, name, "", now))
            return None
        if not self._takes(alert):
            await shared.outbox.change(alert["id"], lambda a: queued(a, {name: self._takes}, now))
            return None
        if shared.policy.is_below_min_authors(alert):
            facts = await shared.facts(alert)
            if facts["spread"] != alert.get("spread"):
                await shared.outbox.change(alert["id"], lambda a: {**a, **facts})
            alert = {**alert, **facts}
        tell, reason, until = await self._decision(alert, transition, delivery)
        if tell is Action.SEND:
            return alert
        if tell is Action.HOLD:
            look = until or now + timedelta(seconds=POLL_S)
            await shared.outbox.change(alert["id"], lambda a: held(a, name, reason, look, now))
            return None
        if reason:
            shared.metrics.notifications.labels(name, "suppressed").inc()
            log.info("channel %s is not told %s: %s", name, key_of(alert, transition), reason)
        await shared.outbox.change(alert["id"], lambda a: suppressed(a, alert, name, reason, now))
        return None

    async def _decision(
        self, alert: Mapping[str, Any], transition: str, delivery: Delivery
    ) -> tuple[Action, str, datetime | None]:
        """Whether this channel is told, why not, and until when."""
        if isinstance(self.channel, StatefulChannel) and delivery.told:
            # What it holds is kept true, whatever people said; that an alert is still open its refresh says.
            refreshed = transition == "reminder" and delivery.told != RESOLVED
            return (Action.DROP if refreshed else Action.SEND), "", None
        if transition == RESOLVED and not delivery.told and (delivery.sequence >= 0 or alert.get("false_alarm")):
            return Action.DROP, "nobody was told that it began", None
        said = await self._shared.outbox.operator(operator_state(alert["id"]))
        decision = self._shared.policy.decide(transition, alert, said, self._shared.now())
        return decision.tell, decision.reason, decision.until

    def _messages(self, alerts: Sequence[dict[str, Any]]) -> Iterator[tuple[Notice, list[dict[str, Any]]]]:
        """Each alert by itself, unless many begin or end at once in one lane: those are one message.

        Of the single ones what was tried least comes first: one that never goes through holds up no other.
        """
        alone: list[dict[str, Any]] = []
        alike: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        for alert in alerts:
            transition = self._transition(alert)
            if transition in {"opened", RESOLVED} and not isinstance(self.channel, StatefulChannel):
                alike[alert.get("lane", ""), transition].append(alert)
            else:
                alone.append(alert)
        for (_, transition), some in alike.items():
            for group in self._groups(some):
                if len(group) > self._shared.group_above:
                    document = {k: v for k, v in group_document(group).items() if k not in _OURS}
                    yield Notice(f"{document['id']}#0-{transition}", transition, document), group
                else:
                    alone += group
        for alert in sorted(alone, key=lambda a: self._delivery(a).attempts):
            transition = self._transition(alert)
            told = {k: v for k, v in alert.items() if k not in _OURS}
            yield Notice(key_of(alert, transition), transition, told), [alert]

    def _groups(self, alerts: list[dict[str, Any]]) -> Iterable[list[dict[str, Any]]]:
        """A group that was tried stays together, under its key; who joined later is a group of its own."""
        tried = [a for a in alerts if a["id"] in self._tried]
        if tried and len(tried) == len(self._tried):
            return [tried, [a for a in alerts if a["id"] not in self._tried]]
        return [alerts]

    def _transition(self, alert: Mapping[str, Any]) -> str:
        return transition_for(alert, self._delivery(alert))

    def _delivery(self, alert: Mapping[str, Any]) -> Delivery:
        return of(alert).get(self.channel.name, Delivery(self.channel.name))

    async def _attempt(self, notice: Notice) -> _Result:
        """Whatever a channel raises is this channel's failure."""
        counted = self._shared.metrics.notifications
        try:
            await self.channel.send(notice)
        except Transient as error:
            counted.labels(self.channel.name, "retried").inc()
            log.warning("notification %s: %s", notice.key, error)
            return _Result(State.RETRYING, self._said(error), error.retry_after_s)
        except Fatal as error:
            counted.labels(self.channel.name, "refused").inc()
            log.error("notification %s: %s", notice.key, error)
            return _Result(State.REFUSED, self._said(error))
        except Exception as error:
            counted.labels(self.channel.name, "refused").inc()
            log.error("notification %s: channel %s failed with %s", notice.key, self.channel.name, _where(error))
            return _Result(State.REFUSED, f"failed with {_where(error)}")
        counted.labels(self.channel.name, "sent").inc()
        return _Result(State.DELIVERED)

    async def _note(self, sent: Mapping[str, Any], result: _Result, *, tried: bool) -> None:
        now, name = self._shared.now(), self.channel.name
        detail = result.detail if tried else f"not tried after {REFUSALS} refusals: {result.detail}"

        def change(alert: dict[str, Any]) -> dict[str, Any]:
            if result.state is State.DELIVERED:
                return delivered(alert, sent, name, now)
            due = now + timedelta(seconds=REFUSED_S) if result.state is State.REFUSED else None
            return failed(alert, name, result.state, detail, due, now, tried=tried)

        await self._shared.outbox.change(sent["id"], change)

    async def _refresh(self) -> None:
        """Says again what is open, to a channel that forgets it otherwise."""
        channel = self.channel
        if not isinstance(channel, StatefulChannel) or self._until_refresh() > 0:
            return
        self._refresh_at = self._shared.monotonic() + channel.refresh_s
        known = [a for a in await self._shared.outbox.open() if self._knows(a)]
        if not known:
            return
        try:
            await channel.refresh(known)
        except Exception as error:
            self._shared.metrics.notifications.labels(channel.name, "retried").inc()
            said = self._said(error) if isinstance(error, (Transient, Fatal)) else _where(error)
            log.warning("channel %s was not refreshed: %s", channel.name, said)

    def _knows(self, alert: Mapping[str, Any]) -> bool:
        delivery = of(alert).get(self.channel.name)
        return delivery is not None and delivery.told not in {"", RESOLVED}

    def _until_refresh(self) -> float:
        if not isinstance(self.channel, StatefulChannel):
            return POLL_S
        return max(0.0, self._refresh_at - self._shared.monotonic())

    def _said(self, error: Exception) -> str:
        return str(error).removeprefix(f"channel {self.channel.name}: ")


def _where(error: Exception) -> str:
    """The type and the place of an exception; its text may quote a post or a URL."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    code = traceback.tb_frame.f_code.co_name if traceback is not None else "?"
    return f"{type(error).__name__} in {code}"
