"""A generic webhook: JSON by POST, signed. Refuses to be turned against our own network.

The receiver checks `X-Opinionwatch-Signature: t=SECONDS,v1=HEX`, HEX = HMAC-SHA256(secret, "SECONDS." + body), and
drops a repeated `Idempotency-Key`.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import json
import socket
import time
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from pipeline.alerting.notify.base import Notice
from pipeline.errors import Fatal, Transient

MAX_ANSWER_BYTES = 65_536


class WebhookChannel:
    """Implements `Channel`."""

    def __init__(
        self, name: str, url: str, *, secret: str = "", allow_private: bool = False, timeout_s: float = 10.0
    ) -> None:
        """Raises `Fatal` for a URL that may not be called."""
        if urlsplit(url).scheme != "https" and not allow_private:
            raise Fatal(f"webhook {name}: the URL must be https", "use https, or set allow_private for your own host")
        self.name, self._url, self._secret, self._private = name, url, secret, allow_private
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)

    async def send(self, notice: Notice) -> None:
        body = json.dumps(
            {"version": "1", "idempotency_key": notice.key, "transition": notice.transition, "alert": notice.alert},
            ensure_ascii=False,
        ).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": notice.key}
        if self._secret:
            headers["X-Opinionwatch-Signature"] = signature(self._secret, body, int(time.time()))
        try:
            # aiohttp asks no resolver about an address written as numbers: so all is resolved and judged here.
            connector = aiohttp.TCPConnector(resolver=_Resolved(await self._addresses()))
            async with (
                aiohttp.ClientSession(connector=connector, timeout=self._timeout, trust_env=False) as session,
                session.post(self._url, data=body, headers=headers, allow_redirects=False) as answer,
            ):
                await answer.content.read(MAX_ANSWER_BYTES)
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Transient(f"webhook {self.name}: {type(error).__name__}") from error
        if status in {408, 425, 429} or status >= 500:
            raise Transient(f"webhook {self.name}: status {status}", retry_after_s=1.0)
        if not 200 <= status < 300:
            raise Fatal(
                f"webhook {self.name}: status {status}", "check the URL and the receiver; redirects are refused"
            )

    async def _addresses(self) -> list[ResolveResult]:
        """The receiver's addresses; raises `Fatal` where one of them is not public and that is not allowed."""
        parts = urlsplit(self._url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        results: list[ResolveResult] = []
        for family, _, proto, _, address in infos:
            if not self._private and not ipaddress.ip_address(address[0]).is_global:
                raise Fatal(f"webhook {self.name}: {host} is no public address", "set allow_private for your own host")
            results.append(
                ResolveResult(
                    hostname=host,
                    host=str(address[0]),
                    port=port,
                    family=family,
                    proto=proto,
                    flags=socket.AI_NUMERICHOST,
                )
            )
        return results


def signature(secret: str, body: bytes, at_s: int) -> str:
    """The value of the signature header.

    >>> signature("s", b"{}", 1)[:8]
    't=1,v1=b'
    """
    digest = hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={digest}"


class _Resolved(AbstractResolver):
    """Answers with what was resolved and judged before: no second look-up, so no rebinding."""

    def __init__(self, results: list[ResolveResult]) -> None:
        self._results = results

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return self._results

    async def close(self) -> None:
        """Holds nothing."""
