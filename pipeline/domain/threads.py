"""Threads that do not delay the end of the process, although one may wait for an answer that never comes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any


class DaemonThreadPool(ThreadPoolExecutor):
    """A pool of daemon threads; neither `shutdown` nor the interpreter waits for their work.

    It is a `ThreadPoolExecutor`, because asyncio accepts no other default executor, but does not join its threads.
    """

    def __init__(self, threads: int, name: str) -> None:
        super().__init__(threads, thread_name_prefix=name)
        self._work: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._made: list[threading.Thread] = []
        self._making = threading.Lock()
        self._most, self._name = threads, name

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._work.put((future, partial(fn, *args, **kwargs)))
        with self._making:
            if not self._idle.acquire(blocking=False) and len(self._made) < self._most:
                self._made.append(threading.Thread(target=self._run, name=self._name, daemon=True))
                self._made[-1].start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Cancels the work that waits for a thread, and returns at once."""
        with suppress(queue.Empty):
            while True:
                self._work.get_nowait()[0].cancel()

    def _run(self) -> None:
        while True:
            future, work = self._work.get()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as error:
                    future.set_exception(error)
            del future, work
            self._idle.release()
