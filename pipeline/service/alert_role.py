"""The alert role: evaluates the counts in the store and notifies."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from models.json_types import JsonObject
from pipeline.alerting.evaluation.factory import key_overrides, make_evaluator
from pipeline.alerting.notify.factory import make_channels
from pipeline.alerting.worker.alert_worker import AlertWorker
from pipeline.domain.ledger import NO_HORIZON
from pipeline.domain.post import Record
from pipeline.domain.progress import Progress
from pipeline.domain.unreadable import skip_unreadable
from pipeline.kafka.agent import consume
from pipeline.kafka.app import make_app, raw_topic, start
from pipeline.kafka.partitions import assigned
from pipeline.kafka.strict import StrictApp
from pipeline.kafka.writers import send
from pipeline.service.role import WorkerContext


class AlertRole:
    """Implements `Role`. It stands by while another process owns the progress partition.

    It evaluates nothing later than `ceiling()`, unless that is None.
    """

    def __init__(self, context: WorkerContext, ceiling: Callable[[], datetime | None]) -> None:
        settings, kafka = context.settings, context.settings.kafka
        self._brokers, self._progress_topic = context.brokers, kafka.progress_topic
        self.topics: Sequence[str] = [kafka.progress_topic]
        self.app: StrictApp = make_app("alert", kafka, context.brokers)
        self._alerts_topic = raw_topic(self.app, kafka.alerts_topic)
        self.worker = AlertWorker(
            store=context.store,
            evaluator=make_evaluator(context.store, settings.alerts),
            settings=settings.alerts,
            overrides=key_overrides(settings.alerts),
            channels=make_channels(settings.alerts),
            publish=self._publish,
            topics=kafka.topics,
            holds=lambda: 0 in assigned(self.app, kafka.progress_topic),
            ceiling=ceiling,
            metrics=context.metrics,
            horizon=(lambda: NO_HORIZON) if settings.embedded else None,
        )
        consume(self.app, raw_topic(self.app, kafka.progress_topic), self._on_progress, settings.flow, context.fail)

    @property
    def background(self) -> Sequence[Callable[[], Awaitable[None]]]:
        return [self.worker.run]

    async def start(self) -> None:
        await start(self.app, self._brokers)

    def waits_for(self) -> str | None:
        return f"no data: {self.worker.no_data}" if self.worker.no_data else None

    def close(self) -> None:
        """Holds nothing that outlives the app."""

    async def _publish(self, key: str, alert: JsonObject) -> None:
        await send(self._alerts_topic, key.encode(), json.dumps(alert, ensure_ascii=False).encode())

    async def _on_progress(self, records: Sequence[Record]) -> None:
        values = (record.value for record in records if record.value)
        self.worker.on_progress(
            list(skip_unreadable(self._progress_topic, values, lambda value: Progress.from_json(json.loads(value))))
        )
