"""HTTP of the console: alerts, shares and search, read-only. The page itself is in `static/`."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Any

from aiohttp import web

from pipeline.alerting.notify.message import origin
from pipeline.alerting.shares import key_shares
from pipeline.alerting.told import told, with_operator
from pipeline.errors import Fatal, PipelineError
from pipeline.settings import HttpSettings
from pipeline.status import from_store
from pipeline.store.base import CountRule, Store

_TYPES = {"index.html": "text/html", "console.js": "text/javascript", "console.css": "text/css"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_STEPS = 42
MAX_HITS = 50


def refuse_open_host(http: HttpSettings) -> None:
    """The console has no log-in yet: raises `Fatal` for an address that others reach."""
    if not http.behind_proxy and not _is_loopback(http.host):
        raise Fatal(
            f"http.host {http.host} would open the console to others without a log-in",
            "keep 127.0.0.1, or put a proxy that authenticates in front and set http.behind_proxy",
        )


def console_app(
    store: Store, rule: CountRule, *, behind_proxy: bool = False, topics: Collection[str] | None = None
) -> web.Application:
    """Pages and `/api/...`; every blocking read runs in a thread. Without a proxy it answers to loopback names only.

    `topics` are those of the settings: a lag of others is nobody's.
    """
    app = web.Application(middlewares=[_guard] if behind_proxy else [_guard, _loopback_only])
    for name, kind in _TYPES.items():
        path = "/" if name == "index.html" else f"/{name}"
        app.router.add_get(path, _static(resources.files("pipeline.console") / "static" / name, kind))

    async def status(_: web.Request) -> web.Response:
        return web.json_response(await asyncio.to_thread(lambda: from_store(store, topics)))

    async def alerts(_: web.Request) -> web.Response:
        return web.json_response(await asyncio.to_thread(lambda: shown_alerts(store, datetime.now(UTC))))

    async def shares(_: web.Request) -> web.Response:
        return web.json_response(await asyncio.to_thread(lambda: two_weeks(store, rule)))

    async def search(request: web.Request) -> web.Response:
        text = request.query.get("q", "")[:200]
        return web.json_response(await asyncio.to_thread(lambda: store.search(text, MAX_HITS)))

    app.add_routes(
        [
            web.get("/api/status", status),
            web.get("/api/alerts", alerts),
            web.get("/api/shares", shares),
            web.get("/api/search", search),
        ]
    )
    return app


def shown_alerts(store: Store, now: datetime) -> list[dict[str, Any]]:
    """The newest alerts, and in words who heard of each and where its posts come from."""
    found = [
        with_operator(store, a) if a["state"] == "open" else {**a, "operator": {}} for a in store.alerts(limit=100)
    ]
    return [{**alert, "told": told(alert, now), "origin": "; ".join(origin(alert, "en"))} for alert in found]


def two_weeks(store: Store, rule: CountRule) -> list[dict[str, Any]]:
    """Posts and negative shares per key over the last two weeks of event time, in `_STEPS` steps of 8 hours."""
    bounds = store.bounds()
    if bounds is None:
        return []
    found = key_shares(store, rule, bounds[1] + timedelta(minutes=5), timedelta(hours=8), _STEPS)
    return [{"key": key, "posts": posts, "negatives": negatives} for key, (posts, negatives) in sorted(found.items())]


def _static(file: Any, kind: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    text = file.read_text("utf-8")

    async def serve(_: web.Request) -> web.Response:
        return web.Response(text=text, content_type=kind)

    return serve


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@web.middleware
async def _loopback_only(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """A web site whose name is made to lead here (DNS rebinding) would read the console by its visitor's browser."""
    if not _is_loopback(request.url.host or ""):
        error = "the console answers to localhost only: open it there, or set http.behind_proxy behind a proxy"
        return web.json_response({"error": error}, status=403)
    return await handler(request)


@web.middleware
async def _guard(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Any:
    try:
        answer = await handler(request)
    except PipelineError as error:
        answer = web.json_response({"error": str(error)}, status=503)
    answer.headers.update(_HEADERS)
    return answer
