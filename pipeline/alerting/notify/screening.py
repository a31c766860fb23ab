"""Which of the alerts that are due a channel sends now; why and until when it does not send the others."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta

from pipeline.alerting.notify.changes import held, queued, suppressed
from pipeline.alerting.notify.channel import Channel, StatefulChannel
from pipeline.alerting.notify.context import QueueContext
from pipeline.alerting.notify.deliveries import delivery_of, has_update, idempotency_key, transition_for
from pipeline.alerting.notify.outbox import Route
from pipeline.alerting.notify.policy import Action, Decision
from pipeline.domain.alert import RESOLVED, Alert
from pipeline.domain.delivery import Delivery

log = logging.getLogger(__name__)
#: Seconds after which a channel looks again at an alert that waits for nobody knows how long.
LOOK_AGAIN_S = 30.0


class Screening:
    """The screening of one channel; `takes` is the channel's route."""

    def __init__(self, channel: Channel, takes: Route, context: QueueContext) -> None:
        self._channel, self._takes, self._context = channel, takes, context

    async def screen(self, alert: Alert) -> Alert | None:
        """The alert if the channel sends it now; otherwise None, and the alert says why and until when."""
        context, name, now = self._context, self._channel.name, self._context.now()
        delivery = delivery_of(alert, name)
        transition = transition_for(alert, delivery)
        if not has_update(alert, delivery):  # what was due has been taken back
            await context.outbox.change(alert.id, lambda a: suppressed(a, alert, name, "", now))
            return None
        if not self._takes(alert):
            await context.outbox.change(alert.id, lambda a: queued(a, {name: self._takes}, now))
            return None
        if context.policy.is_below_min_authors(alert):
            alert = await self._reread(alert)
        decision = await self._decide(alert, transition, delivery)
        if decision.action is Action.SEND:
            return alert
        reason = decision.reason
        if decision.action is Action.HOLD:
            until = decision.until or now + timedelta(seconds=LOOK_AGAIN_S)
            await context.outbox.change(alert.id, lambda a: held(a, name, reason, until, now))
            return None
        if reason:
            context.metrics.notifications.labels(name, "suppressed").inc()
            log.info("channel %s does not send %s: %s", name, idempotency_key(alert, transition), reason)
        await context.outbox.change(alert.id, lambda a: suppressed(a, alert, name, reason, now))
        return None

    async def _reread(self, alert: Alert) -> Alert:
        current = await self._context.reread(alert)
        terms, profile = current.terms, current.source_profile
        if profile != alert.source_profile:
            await self._context.outbox.change(alert.id, lambda a: replace(a, terms=terms, source_profile=profile))
        return current

    async def _decide(self, alert: Alert, transition: str, delivery: Delivery) -> Decision:
        if isinstance(self._channel, StatefulChannel) and delivery.notified_as:
            # The receiver must know the current level, whatever people said. A refresh takes the place of reminders.
            refreshed = transition == "reminder" and delivery.notified_as != RESOLVED
            return Decision(Action.DROP if refreshed else Action.SEND)
        never_began = transition == RESOLVED and not delivery.notified_as
        if never_began and (delivery.sequence >= 0 or alert.false_alarm is not None):
            return Decision(Action.DROP, "nobody was notified that it began")
        said = await self._context.outbox.operator(alert.id)
        return self._context.policy.decide(transition, alert, said, self._context.now())
