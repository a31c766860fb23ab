"""The HTTP server of the console: alerts, shares and search, read-only. The page itself is in `static/`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Any

from aiohttp import web

from models.json_types import JsonObject
from pipeline.alerting.alerts.caveats import caveats
from pipeline.alerting.alerts.origin import origin
from pipeline.alerting.counting.shares import key_shares
from pipeline.alerting.notify.status import by_channel, notification_status, operators
from pipeline.console.shared import Shared
from pipeline.domain.counting import NegativeDefinition
from pipeline.domain.errors import Fatal, PipelineError
from pipeline.domain.operator_state import OperatorState
from pipeline.service.hosts import is_loopback, only_known_hosts
from pipeline.service.status import from_store
from pipeline.settings import HttpSettings
from pipeline.store.protocol import MonitoringStore, NotificationStore, PostStore

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
#: Seconds that an answer is cached at least; a page requests it every 2 s.
KEPT_S = 1.5
_ELSEWHERE = (
    "the console answers to localhost only: open it there, name this host in http.allowed_hosts, or set "
    "http.behind_proxy behind a proxy that authenticates"
)


def refuse_open_host(http: HttpSettings) -> None:
    """Raises `Fatal` for an address that other machines reach: the console has no login."""
    if not http.behind_proxy and not http.allowed_hosts and not is_loopback(http.host):
        raise Fatal(
            f"http.host {http.host} would open the console to other machines without a login",
            "keep 127.0.0.1; or put an authenticating proxy in front and set http.behind_proxy; or set "
            "http.allowed_hosts if only this machine reaches the port",
        )


def console_app(
    store: MonitoringStore,
    rule: NegativeDefinition,
    *,
    behind_proxy: bool = False,
    allowed_hosts: Collection[str] = (),
    topics: Collection[str] | None = None,
) -> web.Application:
    """Serves the page and `/api/...`; blocking reads run in threads, and all open pages share their answers.

    It answers requests for loopback names and `allowed_hosts`. Behind a proxy and without `allowed_hosts` it answers
    any name. `topics` are those of the settings: only their lag counts (None: the lag of all topics).
    """
    guarded = not behind_proxy or allowed_hosts
    app = web.Application(middlewares=[_guard, *([only_known_hosts(allowed_hosts, _ELSEWHERE)] if guarded else [])])
    everywhere: dict[str, Shared[Any]] = {
        "status": Shared(lambda: from_store(store, topics).to_json(), KEPT_S),
        "alerts": Shared(lambda: shown_alerts(store, datetime.now(UTC)), KEPT_S),
        "shares": Shared(lambda: two_weeks(store, rule), KEPT_S),
    }
    for name, kind in _TYPES.items():
        path = "/" if name == "index.html" else f"/{name}"
        app.router.add_get(path, _static(resources.files("pipeline.console") / "static" / name, kind))

    def shared(answer: Shared[Any]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(_: web.Request) -> web.Response:
            return web.json_response(await answer.get())

        return handle

    async def search(request: web.Request) -> web.Response:
        text = request.query.get("q", "")[:200]
        found = await asyncio.to_thread(lambda: store.search(text, MAX_HITS))
        return web.json_response([{**document.to_json(), "_id": document.id} for document in found])

    for name, answer in everywhere.items():
        app.router.add_get(f"/api/{name}", shared(answer))
    app.router.add_get("/api/search", search)
    return app


def shown_alerts(store: NotificationStore, now: datetime) -> list[JsonObject]:
    """The newest alerts with their notification status and the origin of their posts in words."""
    found = store.alerts(limit=100)
    said = operators(store, (alert for alert in found if alert.is_open))
    return [
        {
            **alert.to_json_with_id(),
            "operator": (words := said.get(alert.id, OperatorState())).to_json(),
            "told": notification_status(alert, words, now),
            "channels": by_channel(alert),
            "origin": "; ".join([*caveats(alert, "en"), *origin(alert, "en")]),
            "toward": alert.toward,
        }
        for alert in found
    ]


def two_weeks(store: PostStore, rule: NegativeDefinition) -> list[JsonObject]:
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


@web.middleware
async def _guard(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Any:
    try:
        answer = await handler(request)
    except PipelineError as error:
        answer = web.json_response({"error": str(error)}, status=503)
    answer.headers.update(_HEADERS)
    return answer
