"""Sends the records that cannot be processed to the dead-letter topic, within the limits."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.classify.dead_letter_limit import DeadLetterLimit
from pipeline.classify.isolation import BugLimit
from pipeline.classify.ports import DeadLetters
from pipeline.classify.retries import Retries
from pipeline.domain.errors import Poison
from pipeline.domain.metrics import Metrics
from pipeline.domain.post import DeadLetter


class DeadLettering:
    """Call `admit` and `admit_bugs` for the poisons of a batch before `send` is called for the first of them."""

    def __init__(self, topic: DeadLetters, limit: DeadLetterLimit, retries: Retries, metrics: Metrics) -> None:
        self._topic, self._limit, self._retries, self._metrics = topic, limit, retries, metrics
        self._bug_limit = BugLimit()

    async def admit(self, poisons: int, records: int) -> None:
        """Raises `Fatal` if these letters exceed the dead-letter limit; `records` is the size of the batch."""
        if poisons and self._limit.needs_total():
            sent = await self._retries.run("dead", lambda: self._topic.sent_within(self._limit.window_s))
            self._limit.observe_total(sent or 0)
        self._limit.admit(poisons, records)

    def admit_bugs(self, poisons: Sequence[Poison], records: int) -> None:
        """Raises the last bug itself if most of the recent records met one."""
        self._bug_limit.admit(poisons, records)

    async def send(self, letter: DeadLetter) -> None:
        """Returns when the letter is durable."""
        await self._retries.run("dead", lambda: self._topic.send(letter))
        self._metrics.dead.labels(letter.stage, letter.reason).inc()
