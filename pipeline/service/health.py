"""/metrics, /livez and /readyz. Ready means progress: an open port alone is not enough."""

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

_ELSEWHERE = "the metrics answer to an address or to localhost: scrape them there, or set http.allowed_hosts"


def add_health(
    app: web.Application, metrics: Metrics, not_ready: Callable[[], str | None], http: HttpSettings | None = None
) -> None:
    """`not_ready()` says what is missing, None where work is going on.

    With `http`, the app answers under IP addresses, as scrapers ask, loopback names and `http.allowed_hosts` only;
    under any name where it is open to other machines and no such names are set.
    """
    if http is not None and (is_loopback(http.host) or http.allowed_hosts):
        app.middlewares.append(only_known_hosts(http.allowed_hosts, _ELSEWHERE, addresses=True))

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
    """Serves while the context lasts and gives the port (that of the system's choice for 0)."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise Fatal(
                f"{host}:{port} cannot be opened: {error.strerror}",
                f"give this worker a port of its own with {setting}, or end what uses this one",
            ) from None
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
