"""Lets batches overlap in three stages without overtaking: one is prepared while the one before it is inferred and the
one before that is indexed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pipeline.classify.backlog import BacklogEstimator
from pipeline.domain.errors import Fatal

PreparedT = TypeVar("PreparedT")
InferredT = TypeVar("InferredT")


class StageOrder:
    """Every stage takes the batches in the order in which `run` was called, so progress never skips a record.

    After a batch has failed, no later batch is indexed. `monotonic` is a clock in seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._prepare_turn, self._infer_turn, self._index_turn = (asyncio.Lock() for _ in range(3))
        self._backlog = BacklogEstimator()
        self._failed = False

    def slack_s(self) -> float:
        """Returns how long the next batch may stay open without keeping the inference stage waiting, in seconds."""
        return self._backlog.slack_s(self._monotonic())

    async def run(
        self,
        records: int,
        *,
        prepare: Callable[[], Awaitable[PreparedT]],
        infer: Callable[[PreparedT], Awaitable[InferredT]],
        index: Callable[[InferredT], Awaitable[None]],
    ) -> None:
        """Takes a batch of `records` records through the stages.

        Raises what a stage raises, and `Fatal` instead of indexing the batch if an earlier one has failed.
        """
        self._backlog.taken(records, self._monotonic())
        try:
            await self._run(records, prepare, infer, index)
        except BaseException:
            # A later batch must not move the progress past the records of this one.
            self._failed = True
            raise

    async def _run(
        self,
        records: int,
        prepare: Callable[[], Awaitable[PreparedT]],
        infer: Callable[[PreparedT], Awaitable[InferredT]],
        index: Callable[[InferredT], Awaitable[None]],
    ) -> None:
        """Holds the turn of each stage until it has the turn of the next, so that no batch overtakes another."""
        async with self._prepare_turn:
            began = self._monotonic()
            prepared = await prepare()
            self._backlog.prepared(self._monotonic() - began)
            await self._infer_turn.acquire()
        try:
            began = self._monotonic()
            inferred = await infer(prepared)
            ended = self._monotonic()
            self._backlog.inferred(records, ended - began, ended)
            await self._index_turn.acquire()
        finally:
            self._infer_turn.release()
        try:
            if self._failed:
                raise Fatal("an earlier batch failed", "see the error before this one")
            await index(inferred)
        finally:
            self._index_turn.release()
