"""Runs the roles of one process in one asyncio loop until it is stopped or something fails."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING

from pipeline.domain.metrics import Metrics
from pipeline.service.role import Role, WorkerContext
from pipeline.settings import Settings
from pipeline.store.protocol import MonitoringStore

if TYPE_CHECKING:
    from pipeline.classify.stage import Classifier
    from pipeline.kafka.supervision import Supervisor
    from pipeline.service.alert_role import AlertRole
    from pipeline.service.classify_role import ClassifyRole

log = logging.getLogger(__name__)
LOOK_S = 1.0
#: How long `Workers.close` waits for the apps to commit and to leave their groups, in seconds.
GRACE_S = 6.0


class Workers:
    """Add roles, `start`, then `wait` until `stop` is called or something fails, and `close` at the end."""

    def __init__(self, settings: Settings, brokers: str, store: MonitoringStore, metrics: Metrics) -> None:
        self._context = WorkerContext(settings, brokers, store, metrics, self.fail)
        self._supervised: list[tuple[Role, Supervisor]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._started = False
        self.classify: ClassifyRole | None = None
        self.alert: AlertRole | None = None

    @property
    def metrics(self) -> Metrics:
        return self._context.metrics

    @property
    def failure(self) -> BaseException | None:
        """The error that ended the process; None while it runs and after `stop`."""
        return self._ended.exception() if self._ended.done() else None

    def add_classify(self, classifier: Classifier) -> ClassifyRole:
        """Adds the role that writes posts from the source topics into the store."""
        from pipeline.service.classify_role import ClassifyRole  # an alert worker needs neither model nor subjects

        self.classify = ClassifyRole(self._context, classifier)
        self._supervise(self.classify)
        return self.classify

    def add_alert(self, ceiling: Callable[[], datetime | None] = lambda: None) -> AlertRole:
        """Adds the role that evaluates and notifies. It evaluates nothing later than `ceiling()`, if that is a time."""
        from pipeline.service.alert_role import AlertRole  # a classify worker needs no detector

        self.alert = AlertRole(self._context, ceiling)
        self._supervise(self.alert)
        return self.alert

    async def start(self) -> None:
        """Starts the apps of all roles; raises what keeps one from starting."""
        # A batch makes some ten thousand objects that all live until it is indexed. With the collector's default
        # thresholds it would traverse them again and again, which costs 5 % of the throughput.
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        await asyncio.gather(*(role.start() for role, _ in self._supervised))
        background = [work for role, _ in self._supervised for work in role.background]
        self._tasks = [asyncio.create_task(self._guarded(work)) for work in [*background, self._watch]]
        self._started = True

    def not_ready(self) -> str | None:
        """Returns what keeps this process from making progress; None if nothing does."""
        if self._ended.done():
            return "ending"
        if not self._started:
            return "starting"
        for role, _ in self._supervised:
            if reason := role.waits_for():
                return reason
        return next((reason for _, s in self._supervised if (reason := s.not_ready())), None)

    async def wait(self) -> None:
        """Returns after `stop`; raises what failed."""
        await asyncio.shield(self._ended)

    def stop(self) -> None:
        """Ends `wait` without an error."""
        if not self._ended.done():
            self._ended.set_result(None)

    def fail(self, error: BaseException) -> None:
        """Ends `wait` with `error`; only the first error counts."""
        if not self._ended.done():
            self._ended.set_exception(error)

    async def close(self, grace_s: float = GRACE_S) -> None:
        """Stops reading, commits the durable records and leaves the groups; it gives up after `grace_s` seconds."""
        for task in self._tasks:
            task.cancel()
        apps = [role.app for role, _ in self._supervised if role.app.started]
        stops = [asyncio.create_task(app.stop(), name=app.conf.id) for app in apps]
        if waited := [*self._tasks, *stops]:
            await asyncio.wait(waited, timeout=grace_s)
        for stop in stops:
            error = "no answer" if not stop.done() else stop.cancelled() or stop.exception()
            if error:
                log.warning("did not leave its consumer group: app=%s error=%s; its partitions are reassigned later",
                            stop.get_name(), error)  # fmt: skip
        for role, _ in self._supervised:
            role.close()

    def _supervise(self, role: Role) -> None:
        from pipeline.kafka.supervision import Supervisor  # a console has no role and loads no Faust

        self._supervised.append((role, Supervisor(role.app, role.topics)))

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self.fail(error)

    async def _watch(self) -> None:
        """Ends the process with what failed inside Faust."""
        while True:
            for _, supervisor in self._supervised:
                if error := supervisor.look():
                    raise error
            await asyncio.sleep(LOOK_S)
