"""Which alerts of a round share a message. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from pipeline.alerting.alerts.grouping import group_alert
from pipeline.alerting.notify.channel import Notice
from pipeline.alerting.notify.deliveries import delivery_of, idempotency_key, transition_for
from pipeline.domain.alert import RESOLVED, Alert


class Batching:
    """Makes the notices of one channel.

    More than `group_above` alerts of one lane that begin or end at once are one message (None: never). A group whose
    message may have reached the receiver stays together, so that the next attempt has the same key.
    """

    def __init__(self, channel: str, group_above: int | None) -> None:
        self._channel, self._group_above = channel, group_above
        self._tried: frozenset[str] = frozenset()

    def notices(self, alerts: Sequence[Alert]) -> Iterator[tuple[Notice, list[Alert]]]:
        """Each notice with the alerts that it reports: groups first, then single alerts.

        The single alerts with the fewest attempts come first, so that one that never goes through delays no other.
        """
        alone: list[Alert] = []
        alike: dict[tuple[str, str], list[Alert]] = defaultdict(list)
        for alert in alerts:
            transition = self._transition(alert)
            if transition in {"opened", RESOLVED} and self._group_above is not None:
                alike[alert.lane, transition].append(alert)
            else:
                alone.append(alert)
        for (_, transition), together in alike.items():
            for group in self._groups(together):
                if self._group_above is not None and len(group) > self._group_above:
                    shown = group_alert(group).for_receivers()
                    yield Notice(f"{shown.id}#0-{transition}", transition, shown), group
                else:
                    alone += group
        for alert in sorted(alone, key=lambda a: delivery_of(a, self._channel).attempts):
            transition = self._transition(alert)
            yield Notice(idempotency_key(alert, transition), transition, alert.for_receivers()), [alert]

    def failed(self, members: Sequence[Alert]) -> None:
        """Keeps a group together: nobody knows whether the receiver has its message."""
        if len(members) > 1:
            self._tried = frozenset(alert.id for alert in members)

    def settled(self, members: Sequence[Alert]) -> None:
        """The receiver took or refused the message."""
        if len(members) > 1:
            self._tried = frozenset()

    def _groups(self, alerts: list[Alert]) -> Iterable[list[Alert]]:
        """The group that was tried, and the alerts that joined later as a group of their own."""
        tried = [alert for alert in alerts if alert.id in self._tried]
        if tried and len(tried) == len(self._tried):
            return [tried, [alert for alert in alerts if alert.id not in self._tried]]
        return [alerts]

    def _transition(self, alert: Alert) -> str:
        return transition_for(alert, delivery_of(alert, self._channel))
