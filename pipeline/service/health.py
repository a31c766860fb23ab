"""Serves /metrics, /livez and /readyz. A process is ready when it makes progress; an open port is not enough."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from pipeline.domain.errors import Fatal
from pipeline.domain.metrics import Metrics
from pipeline.service.hosts import is_loopback, only_known_hosts
from pipeline.settings import HttpSettings

_REFUSAL = "scrape the metrics at an IP address or localhost, or add this host name to http.allowed_hosts"


def add_health(
    app: web.Application, metrics: Metrics, not_ready: Callable[[], str | None], http: HttpSettings | None = None
) -> None:
    """Adds the routes; `not_ready()` returns why the process makes no progress, None if it does.

    With `http`, the app answers only under IP addresses (which scrapers use), loopback names and `http.allowed_hosts`.
    If it is open to other machines and `http.allowed_hosts` is empty, it answers under any name.
    """
    if http is not None and (is_loopback(http.host) or http.allowed_hosts):
        app.middlewares.append(only_known_hosts(http.allowed_hosts, _REFUSAL, addresses=True))

    async def show_metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def alive(_: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def ready(_: web.Request) -> web.Response:
        reason = not_ready()
        return web.Response(text=f"not ready: {reason}\n", status=503) if reason else web.Response(text="ready\n")

    app.add_routes([web.get("/metrics", show_metrics), web.get("/livez", alive), web.get("/readyz", ready)])


@asynccontextmanager
async def serving(app: web.Application, host: str, port: int, setting: str) -> Any:
    """Serves as long as the context lasts, and yields the port; for port 0, the system chooses one."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise Fatal(
                f"{host}:{port} cannot be opened: {error.strerror}",
                f"set {setting} to a free port, or stop the process that uses this one",
            ) from None
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
