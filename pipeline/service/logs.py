"""Configures logging: one line per event, whatever it contains, without post text and without floods."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable

#: A repeated message is written once in this many seconds, with the number of suppressed repetitions.
EVERY_S = 60.0
#: Client libraries, which repeat long messages up to ninety times a second while a broker is down.
LIBRARIES = ("aiokafka", "kafka", "faust", "mode", "elastic_transport", "asyncio")
_VARYING = re.compile(r"0x[0-9a-f]+|\d+")
_MOST_KEYS = 500


class _OneLine(logging.Formatter):
    """Writes an event, even one with a traceback, as one line: it escapes control and other unprintable characters."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if suppressed := getattr(record, "suppressed", 0):
            text += f" ({suppressed} more like it in the last {EVERY_S:.0f} s or longer)"
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class Repeats(logging.Filter):
    """Passes a warning or an error once in `EVERY_S` seconds; messages that differ only in numbers are the same.

    For libraries, only the message's template and the type of the exception are compared.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        #: When each message was last written, and how many repetitions were suppressed since.
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        library = record.name.partition(".")[0] in LIBRARIES
        message = str(record.msg) if library else record.getMessage()
        if record.exc_info and (error := record.exc_info[1]):
            message += f"{type(error)}{'' if library else error}"
        key = (record.name, _VARYING.sub("#", message))
        now = self._now()
        at, suppressed = self._seen.get(key, (now - EVERY_S, 0))
        if now - at < EVERY_S:
            self._seen[key] = (at, suppressed + 1)
            return False
        if len(self._seen) >= _MOST_KEYS:
            self._seen = {k: v for k, v in self._seen.items() if now - v[0] < EVERY_S}
        if len(self._seen) < _MOST_KEYS:
            self._seen[key] = (now, 0)
        record.suppressed = suppressed
        return True


def configure(level: int = logging.INFO) -> None:
    """Logs to standard error; messages of libraries below ERROR are dropped, and repetitions are counted."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.addFilter(Repeats())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("pipeline", "opinionwatch", "models"):
        logging.getLogger(name).setLevel(level)
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.ERROR)
