"""The classify role: posts from the source topics into the store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

from pipeline.classify.dead_letter_limit import DeadLetterLimit
from pipeline.classify.flow import Flow
from pipeline.classify.stage import Classifier, ClassifyStage
from pipeline.classify.start_offsets import StartOffsets
from pipeline.classify.subjects import matcher
from pipeline.domain.errors import Transient
from pipeline.domain.ledger import NO_HORIZON, Partition
from pipeline.domain.threads import DaemonThreadPool
from pipeline.kafka.agent import choose_start_offsets, consume
from pipeline.kafka.app import make_app, raw_topic, start
from pipeline.kafka.partitions import assigned, log_identities
from pipeline.kafka.strict import StrictApp
from pipeline.kafka.writers import DeadTopic, ProgressTopic
from pipeline.service.role import WorkerContext

HEARTBEAT_S = 2.0
LAG_S = 1.0
#: After this many heartbeats the role checks again whether its topics are still the logs that it reads.
LOGS_EVERY = 5
_THREADS = 4


class ClassifyRole:
    """Implements `Role`."""

    def __init__(self, context: WorkerContext, classifier: Classifier) -> None:
        settings, kafka, metrics = context.settings, context.settings.kafka, context.metrics
        self.classifier = classifier
        self.topics: Sequence[str] = kafka.topics
        self.app: StrictApp = make_app("classify", kafka, context.brokers)
        self._brokers, self._metrics = context.brokers, metrics
        self._executor = DaemonThreadPool(_THREADS, "flow")
        self._start_offsets = StartOffsets(kafka.on_deleted, metrics)
        for topic in kafka.topics:
            metrics.skipped.labels(topic)  # creates the time series, so that its first increase is visible
        limits = settings.flow
        self.flow = Flow(
            classify_stage=ClassifyStage(
                classifier, matcher(settings), settings.alerts.counting, metrics, settings.model.cache_mb * 1_000_000
            ),
            store=context.store,
            dead_letters=DeadTopic(raw_topic(self.app, kafka.dead_topic), self.app),
            progress=ProgressTopic(self.app, raw_topic(self.app, kafka.progress_topic)),
            dead_letter_limit=DeadLetterLimit(
                limits.dead_letter_limit, limits.dead_letter_share, limits.dead_letter_window_s
            ),
            metrics=metrics,
            executor=self._executor,
            start_offsets=self._start_offsets,
            # The demo's feed plays on dates of its own, which may lie in the future.
            horizon=(lambda: NO_HORIZON) if settings.embedded else None,
        )
        self.app.on_partitions_assigned.connect(self._reload, weak=False)
        consume(
            self.app,
            raw_topic(self.app, *kafka.topics),
            self.flow.process,
            settings.flow,
            context.fail,
            lambda: self.flow.stalled is not None,
            self.flow.slack_s,
        )
        choose_start_offsets(self.app, self.flow.start_offsets, context.fail)

    @property
    def background(self) -> Sequence[Callable[[], Awaitable[None]]]:
        return [self._heartbeat, self._keep_lag]

    async def start(self) -> None:
        await start(self.app, self._brokers)

    def waits_for(self) -> str | None:
        return f"retrying: {self.flow.stalled}" if self.flow.stalled else None

    def close(self) -> None:
        self._executor.shutdown()

    async def _reload(self, *_args: Any, **_kwargs: Any) -> None:
        self.flow.reload()

    def _assigned(self) -> set[Partition]:
        """Returns the source partitions of this process."""
        return {(topic, partition) for topic in self.topics for partition in assigned(self.app, topic)}

    async def _keep_lag(self) -> None:
        """Removes partitions that moved away from the metrics, even while the heartbeat waits for the store."""
        while True:
            self._metrics.keep_lag(self._assigned())
            await asyncio.sleep(LAG_S)

    async def _heartbeat(self) -> None:
        """Publishes progress without new records, so that the alert role sees growing lag and lasting idleness."""
        for beat in count(1):
            await asyncio.sleep(HEARTBEAT_S)
            await self.flow.publish_progress(self._assigned())
            if beat % LOGS_EVERY == 0:
                with suppress(Transient):  # the flow itself reports that Kafka does not answer
                    self._start_offsets.refuse_replaced_logs(await log_identities(self.app, self.topics))
