"""A bug that one record meets costs that record, not the process; one that most records meet ends it. Pure.

The record becomes a dead letter of its stage with the reason `bug`: nothing of it is lost, and it may be replayed
with a release that can read it.
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
#: Fewer bugs than this are never taken for a fault of the process.
LEAST = 20
#: What goes wrong with the data of one record, as opposed to the network, the disk or the interpreter.
DATA_ERRORS = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError, RecursionError)


@dataclass(frozen=True, slots=True)
class Bug:
    """What was raised for one item and nobody expected."""

    error: Exception


def buried(stage: str, what: str, bug: Bug) -> Poison:
    """The poison of what met a bug; `what` names it in the log, which says nothing of its text."""
    error = bug.error
    place = error.__traceback__
    while place and place.tb_next:
        place = place.tb_next
    where = f"{Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}" if place else "?"
    log.error("%s: %s becomes a dead letter: a bug: %s at %s", stage, what, type(error).__name__, where)
    poison = Poison(stage, BUG, type(error).__name__)
    poison.__cause__ = error
    return poison


def isolated(
    items: Sequence[A],
    call: Callable[[Sequence[A]], Sequence[B]],
    caught: tuple[type[Exception], ...] = (Exception,),
) -> list[B | Bug]:
    """What `call` makes of each item; where it raises, halves are tried, down to the items at fault.

    Those get a `Bug` with what was raised for them alone. Expected failures (`PipelineError`) and a lack of memory
    pass, and so does the error where the first `LEAST` items fail one by one: then no item is at fault.
    """
    found: list[B | Bug] = []
    failures = 0
    parts = [items] if items else []
    while parts:
        part = parts.pop()
        try:
            found += call(part)
        except (PipelineError, MemoryError):
            raise
        except caught as error:
            if len(part) > 1:
                half = len(part) // 2
                parts += [part[half:], part[:half]]
                continue
            failures += 1
            if failures == len(found) + 1 == LEAST:
                raise
            found.append(Bug(error))
    return found


class BugGuard:
    """Ends the process where bugs are at least `LEAST` and over half of the last `WINDOW` records."""

    WINDOW = 200

    def __init__(self) -> None:
        self._bugs = self._records = 0

    def admit(self, poisons: Sequence[Poison], records: int) -> None:
        """Call before the letters of a batch are sent; raises the last bug itself, and then none of them is."""
        if self._records >= self.WINDOW:
            self._bugs, self._records = self._bugs // 2, self._records // 2
        causes = [poison.__cause__ for poison in poisons if poison.reason == BUG and poison.__cause__]
        self._bugs, self._records = self._bugs + len(causes), self._records + records
        if causes and self._bugs >= LEAST and 2 * self._bugs > self._records:
            raise causes[-1]
