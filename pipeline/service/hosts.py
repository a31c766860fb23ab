"""Restricts the host names under which a server answers, so that DNS rebinding cannot read from it."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`, a name or an address.

    >>> [is_loopback(host) for host in ("localhost", "127.0.0.1", "::1", "0.0.0.0", "es.example")]
    [True, True, True, False, False]
    """
    return host == "localhost" or (_address(host) is not None and ipaddress.ip_address(host).is_loopback)


def is_known(host: str, allowed: Collection[str], *, addresses: bool = False) -> bool:
    """Whether to answer under a name: one of this machine or in `allowed`, or with `addresses` any IP address.

    >>> is_known("Console.example.", ["console.example"]), is_known("10.0.0.7", [], addresses=True), is_known("", [])
    (True, True, False)
    """
    name = _plain(host)
    return is_loopback(name) or name in map(_plain, allowed) or (addresses and _address(name) is not None)


def only_known_hosts(allowed: Collection[str], refusal: str, *, addresses: bool = False) -> Any:
    """Returns a middleware that answers 403 with `refusal` to a request under any other name."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not is_known(request.url.host or "", allowed, addresses=addresses):
            return web.json_response({"error": refusal}, status=403)
        return await handler(request)

    return check


def _plain(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
