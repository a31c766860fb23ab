"""Isolates the records that trigger a bug: one such record costs only itself, a bug in most records ends the process.

The record becomes a dead letter of its stage with the reason `bug`. Nothing of it is lost, and
it can be replayed with a release that can process it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pipeline.domain.errors import PipelineError, Poison

log = logging.getLogger(__name__)
A = TypeVar("A")
B = TypeVar("B")

BUG = "bug"
#: Fewer bugs than this never count as a fault of the whole process.
MIN_BUGS = 20
#: Exceptions that a single record's data causes, as opposed to the network, the disk or the interpreter.
DATA_ERRORS = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError, RecursionError)


@dataclass(frozen=True, slots=True)
class Bug:
    """The unexpected exception that processing one item raised."""

    error: Exception


def poison_of(bug: Bug, stage: str, item: str) -> Poison:
    """Logs a bug and returns it as a poison of `stage`. `item` names the record in the log, without post text."""
    error = bug.error
    frame = error.__traceback__
    while frame and frame.tb_next:
        frame = frame.tb_next
    where = f"{Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}" if frame else "?"
    log.error("bug: stage=%s item=%s error=%s at=%s; the item becomes a dead letter", stage, item,
              type(error).__name__, where)  # fmt: skip
    poison = Poison(stage, BUG, type(error).__name__)
    poison.__cause__ = error
    return poison


def isolate_bugs(
    items: Sequence[A],
    call: Callable[[Sequence[A]], Sequence[B]],
    caught: tuple[type[Exception], ...] = (Exception,),
) -> list[B | Bug]:
    """Returns what `call` makes of each item; when it raises, the batch is halved down to the items at fault.

    Each of those gets a `Bug` with the exception that it raised alone. A `PipelineError` and a `MemoryError` pass
    through. So does the exception when the first `MIN_BUGS` items all fail one by one: then no single item is at fault.
    """
    results: list[B | Bug] = []
    failures = 0
    parts = [items] if items else []
    while parts:
        part = parts.pop()
        try:
            results += call(part)
        except (PipelineError, MemoryError):
            raise
        except caught as error:
            if len(part) > 1:
                half = len(part) // 2
                parts += [part[half:], part[:half]]
                continue
            failures += 1
            if failures == len(results) + 1 == MIN_BUGS:
                raise
            results.append(Bug(error))
    return results


class BugLimit:
    """Ends the process when bugs are at least `MIN_BUGS` and over half of the last `WINDOW` records."""

    WINDOW = 200

    def __init__(self) -> None:
        self._bugs = self._records = 0

    def admit(self, poisons: Sequence[Poison], records: int) -> None:
        """Call this before the letters of a batch are sent. It raises the last bug, and then send none of them."""
        if self._records >= self.WINDOW:
            self._bugs, self._records = self._bugs // 2, self._records // 2
        causes = [poison.__cause__ for poison in poisons if poison.reason == BUG and poison.__cause__]
        self._bugs, self._records = self._bugs + len(causes), self._records + records
        if causes and self._bugs >= MIN_BUGS and 2 * self._bugs > self._records:
            raise causes[-1]
