"""Ends a worker within ten seconds of SIGTERM, of Ctrl-C or of its own failure, even where a call hangs.

The interpreter would wait for a thread that hangs in an unanswered request. The process loses nothing when it leaves
that thread: the worker commits the offsets of durable records only.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeVar

from pipeline.cli.guard import guarded

log = logging.getLogger(__name__)
T = TypeVar("T")
LIMIT_S = 9.0
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StoppedError(Exception):
    """A signal arrived while the worker was starting."""


class Ending:
    """The first signal sets `requested`; the second, or `LIMIT_S` seconds, end the process at once."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        for number in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._signalled)

    async def unless(self, work: Awaitable[T]) -> T:
        """The result of `work`; raises `StoppedError` as soon as a signal arrives, and abandons `work`."""
        task, stop = asyncio.ensure_future(work), asyncio.ensure_future(self.requested.wait())
        try:
            await asyncio.wait([task, stop], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
        if not task.done():
            task.cancel()
            raise StoppedError
        return task.result()

    def failed(self, error: BaseException) -> None:
        """Gives the process `LIMIT_S` seconds to end with the exit code of `error`."""
        self._within_limit(lambda: guarded(lambda: _raise(error)))

    def _signalled(self) -> None:
        if self.requested.is_set():
            leave(0)
        log.info("the worker received a signal and is stopping")
        self.requested.set()
        self._within_limit(lambda: 0)

    @staticmethod
    def _within_limit(exit_code: Callable[[], int]) -> None:
        timer = threading.Timer(LIMIT_S, lambda: leave(exit_code()))
        timer.daemon = True
        timer.start()


def end_at_once_on_signals() -> None:
    """Ends the process on the first signal until an `Ending` takes over: nothing needs closing yet."""
    for number in SIGNALS:
        signal.signal(number, lambda *_: leave(0))


def leave(code: int) -> NoReturn:
    """Ends the process without waiting for its threads."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def _raise(error: BaseException) -> Any:
    raise error
