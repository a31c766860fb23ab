"""`opinionwatch run`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from enum import StrEnum
from typing import Annotated, TypeVar

import typer
from aiohttp import web

from pipeline.classify.model_provider import serve_classifier
from pipeline.classify.stage import Classifier
from pipeline.cli.common import Config, guarded, settings_of
from pipeline.cli.ending import Ending, StoppedError, end_at_once_on_signals, leave
from pipeline.console.server import console_app, refuse_open_host
from pipeline.domain.errors import EXIT_USAGE, Fatal
from pipeline.domain.metrics import Metrics
from pipeline.domain.states import SERVED_MODEL, ServedModel
from pipeline.domain.threads import DaemonThreads
from pipeline.kafka import topic_check
from pipeline.service.health import add_health, serving
from pipeline.service.logs import configure
from pipeline.service.workers import Workers
from pipeline.settings import Settings
from pipeline.store.factory import open_store
from pipeline.store.protocol import Store

log = logging.getLogger(__name__)
T = TypeVar("T")
#: Threads for what blocks: requests of the alert role and of the console, and the steps of the start.
THREADS = 16


class Role(StrEnum):
    """What a process does."""

    classify = "classify"
    alert = "alert"
    console = "console"
    all = "all"

    @property
    def classifies(self) -> bool:
        return self in {Role.classify, Role.all}

    @property
    def alerts(self) -> bool:
        return self in {Role.alert, Role.all}

    @property
    def shows(self) -> bool:
        return self in {Role.console, Role.all}


def run(
    role: Annotated[Role, typer.Argument(help="classify, alert, console or all.")],
    metrics_port: Annotated[
        int | None, typer.Option("--metrics-port", help="0: no metrics. Default: 9108, alert 9109, console 9110.")
    ] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port of the console.")] = None,
    config: Config = None,
) -> None:
    """A worker; SIGTERM or Ctrl-C ends it within ten seconds, with everything done or un-acked.

    Example: opinionwatch run classify --metrics-port 9108
    """
    end_at_once_on_signals()
    configure()
    settings = settings_of(config, http__metrics_port=metrics_port, http__console_port=port)
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
    asyncio.get_running_loop().set_default_executor(DaemonThreads(THREADS, "worker"))
    ending = Ending()
    try:
        async with AsyncExitStack() as stack:
            await _serve(settings, role, ending, stack)
    except StoppedError:
        log.info("stopped while starting")


async def _serve(settings: Settings, role: Role, ending: Ending, stack: AsyncExitStack) -> None:
    """Ports first: whoever looks after the process must see from its first second on that it lives."""
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
        log.info("console at http://%s:%d/", http.host, port)
    log.info(await step("connecting to the store", store.check))
    if role is not Role.console:
        log.info(await step("connecting to Kafka", lambda: topic_check.check_topics(settings.kafka)))
    workers = Workers(settings, settings.kafka.bootstrap_servers, store, metrics)
    if role.classifies:
        log.info("loading the model")
        classifier = await step("loading the model", lambda: _classifier(settings, metrics, store))
        workers.add_classify(classifier)
        log.info("model %s %s", classifier.name, classifier.version)
    if role.alerts:
        workers.add_alert()
    try:
        start.step = "joining Kafka"
        await ending.unless(workers.start())
        start.workers = workers
        log.info("%s runs", role.value)
        waiting = asyncio.create_task(ending.requested.wait())
        waiting.add_done_callback(lambda _: workers.stop())
        await workers.wait()
    except Exception as error:
        if not isinstance(error, StoppedError):
            ending.failed(error)
        raise
    finally:
        log.info("stopping")
        await workers.close()
        store.close()


def _classifier(settings: Settings, metrics: Metrics, store: Store) -> Classifier:
    found = serve_classifier(settings.model, settings.alerts.counting, metrics, store)
    store.put_state(SERVED_MODEL, ServedModel(found.name, found.version))
    return found


class _Start:
    """What keeps the process from being ready: a step of its start, later what its workers say."""

    def __init__(self) -> None:
        self.step = ""
        self.workers: Workers | None = None

    def not_ready(self) -> str | None:
        return self.workers.not_ready() if self.workers else f"starting: {self.step}"
