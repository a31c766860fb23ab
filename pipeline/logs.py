"""Logging: one line per event, whatever stands in it; no post text ever."""

from __future__ import annotations

import logging
import sys


class _OneLine(logging.Formatter):
    """Escapes control, bidirectional and other unprintable characters; a traceback becomes one line as well."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def configure(level: int = logging.INFO) -> None:
    """Logs to standard error; what libraries say below WARNING is left out."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("pipeline", "opinionwatch", "models"):
        logging.getLogger(name).setLevel(level)
    for name in ("aiokafka", "kafka", "faust", "mode", "elastic_transport"):
        logging.getLogger(name).setLevel(logging.ERROR)
