"""Logging: one line per event, whatever stands in it; no post text ever, and no flood."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable

#: A message that comes again is written once in this many seconds, with the number of those left out.
EVERY_S = 60.0
#: Client libraries: with a broker away they say the same in a thousand words, up to ninety times a second.
LIBRARIES = ("aiokafka", "kafka", "faust", "mode", "elastic_transport", "asyncio")
_VARYING = re.compile(r"0x[0-9a-f]+|\d+")
_MOST_KEYS = 500


class _OneLine(logging.Formatter):
    """Escapes control, bidirectional and other unprintable characters; a traceback becomes one line as well."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if left_out := getattr(record, "left_out", 0):
            text += f" ({left_out} more like it in the last {EVERY_S:.0f} s or longer)"
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class Repeats(logging.Filter):
    """Lets a warning or an error through once in `EVERY_S` seconds; what differs in numbers only is the same.

    Of libraries the message's template and the kind of the exception count, not what is filled in.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        #: When it was written last, and how many were left out since.
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        library = record.name.partition(".")[0] in LIBRARIES
        said = str(record.msg) if library else record.getMessage()
        if record.exc_info and (error := record.exc_info[1]):
            said += f"{type(error)}{'' if library else error}"
        key = (record.name, _VARYING.sub("#", said))
        now = self._now()
        at, left_out = self._seen.get(key, (now - EVERY_S, 0))
        if now - at < EVERY_S:
            self._seen[key] = (at, left_out + 1)
            return False
        if len(self._seen) >= _MOST_KEYS:
            self._seen = {k: v for k, v in self._seen.items() if now - v[0] < EVERY_S}
        if len(self._seen) < _MOST_KEYS:
            self._seen[key] = (now, 0)
        record.left_out = left_out
        return True


def configure(level: int = logging.INFO) -> None:
    """Logs to standard error; what libraries say below ERROR is left out, and what repeats itself is counted."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.addFilter(Repeats())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("pipeline", "opinionwatch", "models"):
        logging.getLogger(name).setLevel(level)
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.ERROR)
