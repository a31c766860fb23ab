"""Takes micro-batches of records through decode -> label -> index -> progress. Knows neither Kafka nor Faust.

When `Flow.process` returns, every record of the batch is durable (indexed or dead-lettered) and may be committed.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from datetime import UTC, datetime

from pipeline.classify.dead_letter_limit import DeadLetterLimit
from pipeline.classify.dead_lettering import DeadLettering
from pipeline.classify.ports import DeadLetters, ProgressLog
from pipeline.classify.post_indexer import PostIndexer
from pipeline.classify.progress_tracker import ProgressTracker
from pipeline.classify.retries import Retries
from pipeline.classify.stage import ClassifyStage, Predicted, Prepared
from pipeline.classify.stage_order import StageOrder
from pipeline.classify.start_offsets import StartOffsets
from pipeline.domain.errors import Poison
from pipeline.domain.ledger import Entry, Partition
from pipeline.domain.metrics import Metrics
from pipeline.domain.post import DeadLetter, Outcome, Post, Record, ScoredPost
from pipeline.kafka.start_offset import PartitionBounds
from pipeline.store.protocol import IndexingStore


class Flow:
    """One per process. No event time after `horizon()` (by default `now()`) moves the progress.

    `now` is the wall clock, in UTC, `monotonic` a steady clock in seconds, and `sleep` waits between two tries.
    """

    def __init__(
        self,
        *,
        classify_stage: ClassifyStage,
        store: IndexingStore,
        dead_letters: DeadLetters,
        progress: ProgressLog,
        dead_letter_limit: DeadLetterLimit,
        metrics: Metrics,
        executor: Executor,
        start_offsets: StartOffsets | None = None,
        horizon: Callable[[], datetime] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._stage, self._metrics, self._now = classify_stage, metrics, now
        self._order = StageOrder(monotonic)
        self._retries = Retries(executor, metrics, sleep)
        self._indexer = PostIndexer(store, self._retries, metrics, now)
        self._dead_lettering = DeadLettering(dead_letters, dead_letter_limit, self._retries, metrics)
        self._progress = ProgressTracker(
            store=store,
            topic=progress,
            start_offsets=start_offsets or StartOffsets("stop", metrics),
            retries=self._retries,
            metrics=metrics,
            horizon=horizon or now,
            now=now,
        )

    @property
    def stalled(self) -> str | None:
        """Why a call to the store or to Kafka is being retried now; None if none is."""
        return self._retries.stalled

    @property
    def in_flight(self) -> int:
        """The number of records that were taken and are not durable yet."""
        return self._progress.in_flight

    def slack_s(self) -> float:
        """Returns how long the next batch may stay open without keeping the inference stage waiting, in seconds."""
        return self._order.slack_s()

    def reload(self) -> None:
        """Call this when partitions were assigned: another worker may have moved their progress meanwhile."""
        self._progress.invalidate()

    async def start_offsets(self, bounds: Mapping[Partition, PartitionBounds]) -> Mapping[Partition, int]:
        """Returns the offset from which each partition is read; raises as `StartOffsets.resolve` does."""
        return await self._progress.resolve(bounds)

    async def publish_progress(self, partitions: set[Partition]) -> None:
        """Writes the progress of partitions to the store and to the progress topic."""
        await self._progress.publish(partitions)

    async def process(self, records: Sequence[Record]) -> None:
        """Returns when all records are durable.

        Raises `Fatal` or a bug's exception, and then none of the records may be committed. `Transient` is retried here.
        """
        received = self._now()
        self._metrics.consumed.inc(len(records))
        self._metrics.in_flight.inc(len(records))
        self._metrics.batch.observe(len(records))
        self._progress.take(records)

        async def prepare() -> Prepared:
            return await self._retries.in_thread(lambda: self._stage.prepare(records))

        async def infer(prepared: Prepared) -> Predicted:
            with self._metrics.inference.time():
                return await self._retries.in_thread(lambda: self._stage.infer(prepared))

        async def index(predicted: Predicted) -> None:
            await self._finish(predicted, received)

        await self._order.run(len(records), prepare=prepare, infer=infer, index=index)

    async def _finish(self, predicted: Predicted, received: datetime) -> None:
        results = await self._retries.in_thread(lambda: self._stage.finish(predicted))
        entries = await self._make_durable(results)
        self._count(Counter(outcome for _, outcome, _ in entries))
        await self._progress.record(entries)
        now = self._now()
        self._metrics.received_to_indexed.observe((now - received).total_seconds())
        event_times = [item.post.event_time for _, item in results if isinstance(item, ScoredPost)]
        if event_times:
            self._metrics.published_to_indexed.observe(max(0.0, (now - min(event_times)).total_seconds()))

    async def _make_durable(self, results: Sequence[tuple[Record, ScoredPost | Poison]]) -> list[Entry]:
        """Indexes the posts and dead-letters the poisons; the limits are checked before the first letter is sent."""
        scored = [item for _, item in results if isinstance(item, ScoredPost)]
        poisons = [item for _, item in results if isinstance(item, Poison)]
        await self._dead_lettering.admit(len(poisons), len(results))
        outcomes = await self._indexer.index(scored) if scored else []
        refused = [outcome for outcome in outcomes if isinstance(outcome, Poison)]
        if refused:
            await self._dead_lettering.admit(len(refused), 0)
        self._dead_lettering.admit_bugs([*poisons, *refused], len(results))
        remaining = iter(outcomes)
        entries: list[Entry] = []
        for record, item in results:
            outcome: Outcome | Poison
            post: Post | None
            outcome, post = (item, None) if isinstance(item, Poison) else (next(remaining), item.post)
            if isinstance(outcome, Poison):
                await self._dead_lettering.send(DeadLetter(record, outcome.stage, outcome.reason))
                outcome, post = Outcome.REJECTED, None
            entries.append((record, outcome, post))
        return entries

    def _count(self, outcomes: Counter[Outcome]) -> None:
        self._metrics.in_flight.dec(outcomes.total())
        self._metrics.indexed.inc(outcomes[Outcome.INDEXED])
        for outcome, cause in ((Outcome.REDELIVERED, "redelivered"), (Outcome.DUPLICATE, "sent_twice")):
            if outcomes[outcome]:
                self._metrics.duplicate.labels(cause).inc(outcomes[outcome])
