"""decode -> label -> index -> progress, for one micro-batch. Knows neither Kafka nor Faust.

When `process` returns, every record of the batch is durable (indexed, or dead-lettered) and may be acked.
Batches overlap in three stages: one is decoded and tokenised while the one before is inferred and the one before that
is indexed. Each stage takes them in the order in which `process` was called, so that the progress of a partition
never skips a record.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from pipeline.classify.fence import DATA_ERRORS, Bug, BugGuard, buried, isolated
from pipeline.classify.guard import DeadLetterGuard
from pipeline.classify.pacing import BacklogEstimator
from pipeline.classify.placement import Placement
from pipeline.classify.stage import ClassifyStage, Predicted
from pipeline.domain.document_version import DocumentVersion
from pipeline.domain.errors import Fatal, Poison, Transient
from pipeline.domain.ledger import Entry, Ledger, Partition, current
from pipeline.domain.metrics import Metrics
from pipeline.domain.post import DeadLetter, Outcome, Record, ScoredPost
from pipeline.domain.progress import Progress
from pipeline.domain.retry import retried
from pipeline.kafka.resume import Bounds
from pipeline.store.protocol import IndexingStore

log = logging.getLogger(__name__)
T = TypeVar("T")


class DeadLetters(Protocol):
    """Where poisons go."""

    async def send(self, letter: DeadLetter) -> None:
        """Returns when the letter is durable; raises `Transient`."""
        ...

    async def sent_within(self, seconds: float) -> int | None:
        """How many letters all workers sent within the last `seconds`, None where Kafka cannot say."""
        ...


class ProgressLog(Protocol):
    """Where the alert role learns how far the index is."""

    async def send(self, progress: Progress) -> None:
        """Raises `Transient`."""
        ...

    def end_offset(self, partition: Partition) -> int | None:
        """The end of a source partition when last seen, None before anything was fetched from it."""
        ...

    def durable(self, partition: Partition) -> int | None:
        """Below it every record is durable, or never comes; None where that is not known."""
        ...

    def open_transaction(self, partition: Partition) -> bool:
        """Whether what is next belongs to a transaction that is not committed."""
        ...

    def partitions(self, topic: str) -> int:
        """How many partitions a source topic has, 0 where unknown."""
        ...


class Flow:
    """One per process. No event time after `horizon()` (by default `now`) moves the progress."""

    def __init__(
        self,
        *,
        classify_stage: ClassifyStage,
        store: IndexingStore,
        dead_letters: DeadLetters,
        progress: ProgressLog,
        guard: DeadLetterGuard,
        metrics: Metrics,
        executor: Executor,
        placement: Placement | None = None,
        horizon: Callable[[], datetime] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._classify_stage, self._store, self._dead_letters, self._progress = (
            classify_stage,
            store,
            dead_letters,
            progress,
        )
        self._guard, self._metrics, self._executor = guard, metrics, executor
        self._bugs = BugGuard()
        self._now, self._sleep, self._horizon = now, sleep, horizon or now
        self._prepare_turn, self._infer_turn, self._index_turn = (asyncio.Lock() for _ in range(3))
        self._ledger: Ledger | None = None
        self._reading, self._rebalances = asyncio.Lock(), 0
        self._broken = False
        self._in_flight: Counter[Partition] = Counter()
        self.placement = placement or Placement("stop", metrics)
        self._backlog = BacklogEstimator()
        self._stalls: dict[object, str] = {}

    @property
    def stalled(self) -> str | None:
        """What is retried just now, with its reason; None where nothing is."""
        return next(iter(self._stalls.values()), None)

    @property
    def in_flight(self) -> int:
        """Records taken that are not durable yet."""
        return self._in_flight.total()

    def slack_s(self) -> float:
        """How long the next batch may be held open without keeping the inference waiting, in seconds."""
        return self._backlog.slack_s(time.monotonic())

    def reload(self) -> None:
        """Call when partitions were assigned: another worker may have gone on with them meanwhile."""
        self._rebalances += 1
        self._ledger = None

    async def process(self, records: Sequence[Record]) -> None:
        """Raises `Fatal` or a bug's exception with nothing acked; `Transient` never leaves."""
        self._metrics.consumed.inc(len(records))
        self._metrics.in_flight.inc(len(records))
        self._metrics.batch.observe(len(records))
        self._in_flight.update(_partition(r) for r in records)
        self._backlog.taken(len(records), time.monotonic())
        try:
            await self._staged(records, self._now())
        except BaseException:
            # A later batch must not carry the progress past the records of this one.
            self._broken = True
            raise

    async def _staged(self, records: Sequence[Record], received: datetime) -> None:
        """Holds the turn of a stage until it has that of the next, so that no batch overtakes another."""
        async with self._prepare_turn:
            began = time.monotonic()
            prepared = await self._in_thread(lambda: self._classify_stage.prepare(records))
            self._backlog.prepared(time.monotonic() - began)
            await self._infer_turn.acquire()
        try:
            began = time.monotonic()
            with self._metrics.inference.time():
                predicted = await self._in_thread(lambda: self._classify_stage.infer(prepared))
            ended = time.monotonic()
            self._backlog.inferred(len(records), ended - began, ended)
            await self._index_turn.acquire()
        finally:
            self._infer_turn.release()
        try:
            if self._broken:
                raise Fatal("an earlier batch failed", "see the error before this one")
            await self._finish(predicted, received)
        finally:
            self._index_turn.release()

    async def _finish(self, predicted: Predicted, received: datetime) -> None:
        results = await self._in_thread(lambda: self._classify_stage.finish(predicted))
        scored = [item for _, item in results if isinstance(item, ScoredPost)]
        poisons = [item for _, item in results if isinstance(item, Poison)]
        await self._admit(len(poisons), len(results))
        outcomes = await self._index(scored) if scored else []
        refused = [outcome for outcome in outcomes if isinstance(outcome, Poison)]
        if refused:
            await self._admit(len(refused), 0)
        self._bugs.admit([*poisons, *refused], len(results))
        indexed = iter(outcomes)
        done: list[Entry] = []
        for record, item in results:
            found, post = (item, None) if isinstance(item, Poison) else (next(indexed), item.post)
            if isinstance(found, Poison):
                await self._dead_letter(DeadLetter(record, found.stage, found.reason))
                found, post = Outcome.REJECTED, None
            done.append((record, found, post))
        self._count(Counter(outcome for _, outcome, _ in done))
        ledger = await self._books()
        for key in {_partition(r) for r, _ in results}:
            ledger.locate(key, self.placement.log_of(key), self._progress.end_offset(key))
        ledger.enter(done, self._horizon())
        self._in_flight.subtract(_partition(r) for r, _ in results)
        await self.publish_progress({_partition(r) for r, _ in results})
        now = self._now()
        self._metrics.received_to_indexed.observe((now - received).total_seconds())
        if scored:
            oldest = min(s.post.event_time for s in scored)
            self._metrics.published_to_indexed.observe(max(0.0, (now - oldest).total_seconds()))

    async def publish_progress(self, partitions: set[Partition]) -> None:
        """Writes the progress of partitions to the store and the progress topic.

        The topic hears nothing of a partition whose end is not known: that would vouch for an emptiness nobody has
        seen. What was booked is kept all the same: its records may be committed, and then nobody reads them again.
        """
        ledger, booked, news = await self._books(), [], []
        for key in sorted(partitions):
            end, position = self._progress.end_offset(key), self._progress.durable(key)
            if not ledger.knows(key) and (end is None or position is None):
                continue
            ledger.locate(key, self.placement.log_of(key), end)
            booked.append(
                ledger.seen(
                    key,
                    end_offset=end,
                    in_flight=self._in_flight[key],
                    partitions=self._progress.partitions(key[0]),
                    position=position or 0,
                    skipped=self.placement.skipped(key),
                    open_transaction=self._progress.open_transaction(key),
                    now=self._now(),
                )
            )
            news += booked[-1:] if end is not None else []
        for entry in news:
            self._metrics.lag.labels(entry.topic, str(entry.partition)).set(entry.lag)
        await self._retry("progress", lambda: self._store.save_progress(booked))
        await asyncio.gather(*(self._tell(entry) for entry in news))

    async def _books(self) -> Ledger:
        """A rebalance during any wait drops the ledger; between this and the next wait there is none.

        One reader at a time, and what was read before a rebalance is not used after it: either would put back books
        that have moved on, and what they had gained would be counted by nobody.
        """
        while self._ledger is None:
            async with self._reading:
                if self._ledger is None:
                    rebalances = self._rebalances
                    found = await self._retry("progress", self._store.all_progress)
                    if rebalances == self._rebalances:
                        self._ledger = Ledger(current(found), found, self._horizon())
        return self._ledger

    async def starts(self, found: Mapping[Partition, Bounds]) -> Mapping[Partition, int]:
        """From which offset each partition is read (`Placement`)."""
        return self.placement.starts(await self._books(), found)

    async def _admit(self, poisons: int, records: int) -> None:
        """Raises `Fatal` where these letters are too many."""
        if poisons and self._guard.wants_to_know():
            sent = await self._retried("dead", lambda: self._dead_letters.sent_within(self._guard.window_s))
            self._guard.know(sent or 0)
        self._guard.admit(poisons, records)

    async def _index(self, scored: Sequence[ScoredPost]) -> list[Outcome | Poison]:
        """What became of each post; those that the store refuses, or that it fails on, are poison."""

        def write() -> list[Outcome | Bug]:
            at = self._now()
            return isolated(scored, lambda part: self._store.index(part, at, DocumentVersion.STREAMED), DATA_ERRORS)

        with self._metrics.indexing.time():
            found = await self._retry("index", write)
        return [
            buried("index", f"record {s.post.origin}", outcome) if isinstance(outcome, Bug)
            else Poison("index", "rejected") if outcome is Outcome.REJECTED
            else outcome
            for s, outcome in zip(scored, found, strict=True)
        ]  # fmt: skip

    async def _dead_letter(self, letter: DeadLetter) -> None:
        await self._retried("dead", lambda: self._dead_letters.send(letter))
        self._metrics.dead.labels(letter.stage, letter.reason).inc()

    async def _tell(self, entry: Progress) -> None:
        await self._retried("progress", lambda: self._progress.send(entry))

    def _count(self, outcomes: Counter[Outcome]) -> None:
        self._metrics.in_flight.dec(outcomes.total())
        self._metrics.indexed.inc(outcomes[Outcome.INDEXED])
        for outcome, cause in ((Outcome.REDELIVERED, "redelivered"), (Outcome.DUPLICATE, "sent_twice")):
            if outcomes[outcome]:
                self._metrics.duplicate.labels(cause).inc(outcomes[outcome])

    async def _retry(self, stage: str, call: Callable[[], T]) -> T:
        return await self._retried(stage, lambda: self._in_thread(call))

    async def _retried(self, stage: str, call: Callable[[], Awaitable[T]]) -> T:
        """Each call says for itself what it waits for: that another one works, the heartbeat's, is no news of it."""
        token = object()
        try:
            return await retried(call, self._note(stage, token), self._sleep)
        finally:
            self._stalls.pop(token, None)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    def _note(self, stage: str, token: object) -> Callable[[Transient, int], None]:
        def note(error: Transient, attempt: int) -> None:
            self._metrics.retries.labels(stage).inc()
            self._stalls[token] = str(error)
            if attempt in {0, 3} or attempt % 10 == 0:
                log.warning("%s: %s (try %d, goes on trying)", stage, error, attempt + 1)

        return note


def _partition(record: Record) -> Partition:
    return record.origin[:2]
