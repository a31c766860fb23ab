"""Records that another release, or a hand, may have written: what cannot be read is skipped, and the log says so."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")
V = TypeVar("V")
#: Seconds between two lines about one kind of record.
EVERY_S = 60.0
_said: dict[str, tuple[float, int]] = {}


def readable(
    what: str, values: Iterable[V], read: Callable[[V], T], clock: Callable[[], float] = time.monotonic
) -> Iterator[T]:
    """What `read` makes of each value, without those for which it raises.

    `what` names the kind of record in the log, e.g. "opinion.progress".
    """
    for value in values:
        try:
            found = read(value)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            _note(what, error, clock())
        else:
            yield found


def _note(what: str, error: Exception, now_s: float) -> None:
    last_s, count = _said.get(what, (float("-inf"), 0))
    if now_s - last_s < EVERY_S:
        _said[what] = last_s, count + 1
        return
    _said[what] = now_s, 0
    more = f" ({count} more since the last such line)" if count else ""
    log.warning("%s: a record cannot be read and is passed over: %s: %s%s", what, type(error).__name__, error, more)
