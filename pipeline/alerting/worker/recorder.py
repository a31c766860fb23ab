"""From the events of the evaluation to alerts: stored, queued at every channel and published."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from pipeline.alerting.alerts.evidence import EvidenceReader
from pipeline.alerting.alerts.maker import closed_as_orphan, make_alert
from pipeline.alerting.evaluation.events import Event
from pipeline.alerting.notify.notifier import Notifier
from pipeline.alerting.worker.publisher import AlertPublisher
from pipeline.alerting.worker.retrying import StoreRetry
from pipeline.domain.alert import Alert
from pipeline.store.protocol import AlertStore

log = logging.getLogger(__name__)


class AlertRecorder:
    """The notifier writes the alerts to the store, together with the deliveries that each channel still owes."""

    def __init__(
        self,
        store: AlertStore,
        evidence: EvidenceReader,
        notifier: Notifier,
        publisher: AlertPublisher,
        retry: StoreRetry,
        min_lift: float,
    ) -> None:
        """An alert is disputed if loud voices decide whether its share is `min_lift` times the usual one."""
        self._store, self._evidence, self._notifier = store, evidence, notifier
        self._publisher, self._retry, self._min_lift = publisher, retry, min_lift
        self._orphans_closed = False

    async def resume(self) -> None:
        """Goes on with what the last process left; call it after a take-over."""
        self._orphans_closed = False
        await self._notifier.resume()

    async def publish_waiting(self) -> None:
        """Publishes the records that the topic did not take before."""
        await self._publisher.flush()

    async def record(self, events: Sequence[Event]) -> None:
        """Stores the alert of each event, wakes the channels and publishes; the evaluator has saved the events."""
        changed = [(event, await self._alert(event)) for event in events]
        await self._notifier.put({alert.id: alert for _, alert in changed}.values())
        self._notifier.send()
        for event, alert in changed:
            record = {"transition": event.transition.value, "id": alert.id, **alert.to_json()}
            self._publisher.add(alert.id, record)
        await self._publisher.flush()

    async def close_orphans(self, followed: Collection[str], at: datetime) -> None:
        """Closes every open alert that no episode in `followed` continues, because nothing else would ever close it.

        It looks only once after each take-over.
        """
        if self._orphans_closed:
            return
        self._orphans_closed = True
        for alert in await self._retry(lambda: list(self._store.unsettled_alerts())):
            if alert.is_open and alert.id not in followed:
                log.warning("alert %s is closed: the evaluation has no episode for it", alert.id)
                await self._notifier.put([closed_as_orphan(alert, at)])
        self._notifier.send()

    async def _alert(self, event: Event) -> Alert:
        episode = event.episode
        before = await self._retry(lambda: self._store.alert(episode.id))
        end = episode.peak.at
        start = datetime.fromtimestamp(end.timestamp() - episode.peak.window_s, UTC)
        evidence = await self._retry(lambda: self._evidence.read(episode.scope, episode.lane, start, end))
        return make_alert(event, evidence, before, self._min_lift)
