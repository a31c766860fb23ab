"""Starts the role of a process step by step, and ends it in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import NoReturn, TypeVar

from aiohttp import web

from pipeline.classify.model_provider import serve_classifier
from pipeline.classify.stage import Classifier, served_model
from pipeline.cli.guard import guarded
from pipeline.cli.run.ending import Ending, StoppedError, leave
from pipeline.cli.run.role import Role
from pipeline.console.server import console_app, refuse_open_host
from pipeline.domain.errors import EXIT_USAGE, Fatal
from pipeline.domain.metrics import Metrics
from pipeline.domain.states import SERVED_MODEL
from pipeline.domain.threads import DaemonThreadPool
from pipeline.kafka import topic_check
from pipeline.service.health import add_health, serving
from pipeline.service.workers import Workers
from pipeline.settings import Settings
from pipeline.store.factory import open_store
from pipeline.store.protocol import StateStore

log = logging.getLogger(__name__)
T = TypeVar("T")
#: Threads for blocking calls: requests of the alert role and of the console, and the steps of the start.
THREADS = 16


def run_worker(settings: Settings, role: Role) -> NoReturn:
    """Runs the role until a signal comes, then leaves the process with the exit code of what happened.

    Raises `Fatal` before it starts where the role cannot work with these settings.
    """
    if settings.embedded and role is not Role.console:
        raise Fatal(
            "kafka.bootstrap_servers is 'embedded', a broker that only the demo fills",
            "run 'opinionwatch demo', or set OPINIONWATCH_KAFKA__BOOTSTRAP_SERVERS=host:port",
            EXIT_USAGE,
        )
    if role.shows:
        refuse_open_host(settings.http)
    leave(guarded(lambda: asyncio.run(_run(settings, role))))


async def _run(settings: Settings, role: Role) -> None:
    asyncio.get_running_loop().set_default_executor(DaemonThreadPool(THREADS, "worker"))
    ending = Ending()
    try:
        async with AsyncExitStack() as stack:
            await _serve(settings, role, ending, stack)
    except StoppedError:
        log.info("the worker stopped while it was starting")


async def _serve(settings: Settings, role: Role, ending: Ending, stack: AsyncExitStack) -> None:
    """Opens the ports first, so that a supervisor sees from the first second that the process lives."""
    http, metrics, start = settings.http, Metrics(), _Start()
    if port := http.metrics_port_of(role):
        app = web.Application()
        add_health(app, metrics, start.not_ready, http)
        await stack.enter_async_context(serving(app, http.host, port, "http.metrics_port (or --metrics-port)"))

    async def step(name: str, work: Callable[[], T]) -> T:
        start.step = name
        return await ending.unless(asyncio.to_thread(work))

    store = await step("opening the store", lambda: open_store(settings.store))
    if role.shows:
        app = console_app(
            store,
            settings.alerts.counting,
            behind_proxy=http.behind_proxy,
            allowed_hosts=http.allowed_hosts,
            topics=settings.kafka.topics,
        )
        port = await stack.enter_async_context(
            serving(app, http.host, http.console_port, "http.console_port (or --port)")
        )
        log.info("the console is at http://%s:%d/", http.host, port)
    log.info(await step("connecting to the store", store.check))
    if role is not Role.console:
        log.info(await step("connecting to Kafka", lambda: topic_check.check_topics(settings.kafka)))
    workers = Workers(settings, settings.kafka.bootstrap_servers, store, metrics)
    if role.classifies:
        log.info("the worker is loading the model")
        classifier = await step("loading the model", lambda: _classifier(settings, metrics, store))
        workers.add_classify(classifier)
        log.info("the worker loaded model %s %s", classifier.name, classifier.version)
    if role.alerts:
        workers.add_alert()
    try:
        start.step = "joining Kafka"
        await ending.unless(workers.start())
        start.workers = workers
        log.info("role %s is running", role.value)
        waiting = asyncio.create_task(ending.requested.wait())
        waiting.add_done_callback(lambda _: workers.stop())
        await workers.wait()
    except Exception as error:
        if not isinstance(error, StoppedError):
            ending.failed(error)
        raise
    finally:
        log.info("the worker is stopping")
        await workers.close()
        store.close()


def _classifier(settings: Settings, metrics: Metrics, store: StateStore) -> Classifier:
    found = serve_classifier(settings.model, settings.alerts.counting, metrics, store)
    store.put_state(SERVED_MODEL, served_model(found))
    return found


class _Start:
    """Why the process is not ready: the step of its start that is running, later the reason that its workers give."""

    def __init__(self) -> None:
        self.step = ""
        self.workers: Workers | None = None

    def not_ready(self) -> str | None:
        return self.workers.not_ready() if self.workers else f"starting: {self.step}"
