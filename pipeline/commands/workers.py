"""`opinionwatch run`."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import AsyncExitStack
from enum import StrEnum
from typing import Annotated

import typer
from aiohttp import web

from pipeline import kafka_tools
from pipeline.app import Workers
from pipeline.classifier import serve_classifier
from pipeline.commands.common import Config, settings_of
from pipeline.console.server import console_app, refuse_open_host
from pipeline.errors import EXIT_USAGE, Fatal
from pipeline.health import add_health, serving
from pipeline.logs import configure
from pipeline.metrics import Metrics
from pipeline.settings import Settings
from pipeline.store.base import Store
from pipeline.store.open import open_store

log = logging.getLogger(__name__)


class Role(StrEnum):
    """What a process does."""

    classify = "classify"
    alert = "alert"
    console = "console"
    all = "all"


def run(
    role: Annotated[Role, typer.Argument(help="classify, alert, console or all.")],
    metrics_port: Annotated[int | None, typer.Option("--metrics-port", help="0: no metrics.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port of the console.")] = None,
    config: Config = None,
) -> None:
    """A worker; SIGTERM or Ctrl-C ends it with everything done or un-acked.

    Example: opinionwatch run classify --metrics-port 9108
    """
    configure()
    settings = settings_of(config, http__metrics_port=metrics_port, http__console_port=port)
    if settings.embedded and role is not Role.console:
        raise Fatal(
            "kafka.bootstrap_servers is 'embedded', a broker that only the demo fills",
            "run 'opinionwatch demo', or set OPINIONWATCH_KAFKA__BOOTSTRAP_SERVERS=host:port",
            EXIT_USAGE,
        )
    store = open_store(settings.store)
    log.info(store.check())
    if role is not Role.console:
        log.info(kafka_tools.check_topics(settings.kafka))
    asyncio.run(_run(settings, store, role))


async def _run(settings: Settings, store: Store, role: Role) -> None:
    metrics = Metrics()
    workers = Workers(settings, settings.kafka.bootstrap_servers, store, metrics)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, workers.stop)
    if role in {Role.classify, Role.all}:
        counting = settings.alerts.counting
        classifier = serve_classifier(settings.model, counting, metrics, store)
        store.put_state("model", {"name": classifier.name, "version": classifier.version})
        workers.add_classify(classifier)
        log.info("model %s %s", classifier.name, classifier.version)
    if role in {Role.alert, Role.all}:
        workers.add_alert()
    http = settings.http
    async with AsyncExitStack() as stack:
        if http.metrics_port:
            app = web.Application()
            add_health(app, metrics, workers.not_ready)
            await stack.enter_async_context(serving(app, http.host, http.metrics_port, "http.metrics_port"))
        if role in {Role.console, Role.all}:
            refuse_open_host(http)
            counting = settings.alerts.counting
            port = await stack.enter_async_context(
                serving(
                    console_app(store, counting, behind_proxy=http.behind_proxy, topics=settings.kafka.topics),
                    http.host,
                    http.console_port,
                    "http.console_port",
                )
            )
            log.info("console at http://%s:%d/", http.host, port)
        try:
            await workers.start()
            log.info("%s runs", role.value)
            await workers.wait()
        finally:
            log.info("stopping")
            await workers.close()
            store.close()
