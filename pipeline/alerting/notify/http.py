"""POST to a receiver of the configuration, and to nowhere else: addresses judged first, no redirects, short answers."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from pipeline.errors import Fatal, Transient

MAX_ANSWER_BYTES = 65_536


class Poster:
    """`post` for one channel; `name` stands in its errors. Plain http and private addresses need `allow_private`."""

    def __init__(self, name: str, url: str, *, allow_private: bool = False, timeout_s: float = 10.0) -> None:
        """Raises `Fatal` for a URL that may not be called."""
        if urlsplit(url).scheme != "https" and not allow_private:
            raise Fatal(f"channel {name}: the URL must be https", "use https, or set allow_private for your own host")
        self.name, self._url, self._private = name, url, allow_private
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)

    async def post(self, body: bytes, headers: dict[str, str] | None = None, query: str = "") -> bytes:
        """The answer's first 64 KiB; raises `Transient` or `Fatal` by the kind of failure."""
        url = f"{self._url}{'&' if '?' in self._url else '?'}{query}" if query else self._url
        try:
            # aiohttp asks no resolver about an address written as numbers: so all is resolved and judged here.
            connector = aiohttp.TCPConnector(resolver=_Resolved(await self._addresses()))
            async with (
                aiohttp.ClientSession(connector=connector, timeout=self._timeout, trust_env=False) as session,
                session.post(
                    url,
                    data=body,
                    headers={"Content-Type": "application/json", **(headers or {})},
                    allow_redirects=False,
                ) as answer,
            ):
                content = await answer.content.read(MAX_ANSWER_BYTES)
                status, wait = answer.status, answer.headers.get("Retry-After", "")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Transient(f"channel {self.name}: {type(error).__name__}") from error
        if status in {408, 425, 429} or status >= 500:
            seconds = min(60.0, float(wait)) if wait.isdigit() else 1.0
            raise Transient(f"channel {self.name}: status {status}", retry_after_s=seconds)
        if not 200 <= status < 300:
            raise Fatal(
                f"channel {self.name}: status {status}", "check the URL and the receiver; redirects are refused"
            )
        return content

    async def post_json(self, value: Any, query: str = "") -> dict[str, Any]:
        """Posts JSON and reads JSON; an answer that is none counts as an empty one."""
        content = await self.post(json.dumps(value, ensure_ascii=False).encode(), query=query)
        try:
            answer = json.loads(content)
        except ValueError:
            return {}
        return answer if isinstance(answer, dict) else {}

    async def _addresses(self) -> list[ResolveResult]:
        """The receiver's addresses; raises `Fatal` where one of them is not public and that is not allowed."""
        parts = urlsplit(self._url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        results: list[ResolveResult] = []
        for family, _, proto, _, address in infos:
            if not self._private and not ipaddress.ip_address(address[0]).is_global:
                raise Fatal(f"channel {self.name}: {host} is no public address", "set allow_private for your own host")
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
