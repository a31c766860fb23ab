"""Skips and logs records that cannot be read, because another release or a person wrote them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")
V = TypeVar("V")
#: Seconds between two log lines about one kind of record.
EVERY_S = 60.0
#: Per kind of record: when it was last logged, and how many records were skipped since.
_logged: dict[str, tuple[float, int]] = {}


def skip_unreadable(
    kind: str, values: Iterable[V], read: Callable[[V], T], clock: Callable[[], float] = time.monotonic
) -> Iterator[T]:
    """Yields what `read` returns for each value, and skips and logs the values for which it raises.

    `kind` names the records in the log, for example "opinion.progress".
    """
    for value in values:
        try:
            found = read(value)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            _log(kind, error, clock())
        else:
            yield found


def _log(kind: str, error: Exception, now_s: float) -> None:
    last_s, count = _logged.get(kind, (float("-inf"), 0))
    if now_s - last_s < EVERY_S:
        _logged[kind] = last_s, count + 1
        return
    _logged[kind] = now_s, 0
    more = f" ({count} more since the last line)" if count else ""
    log.warning("%s: a record that cannot be read is skipped: %s: %s%s", kind, type(error).__name__, error, more)
