"""POST to a receiver of the settings and nowhere else: it checks the addresses first and follows no redirects."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import socket
import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from models.json_types import Json
from pipeline.alerting.notify.channels.answers import Answer, quoted
from pipeline.domain.errors import Fatal, Transient
from pipeline.settings.urls import checked_url

MAX_ANSWER_BYTES = 65_536
#: The longest wait in seconds that a receiver gets; it may ask for more.
MAX_WAIT_S = 86_400.0
#: IPv6 ranges that carry an IPv4 address, and how many bits follow it.
_EMBEDDED = [
    (ipaddress.IPv6Network("::ffff:0:0/96"), 0),
    (ipaddress.IPv6Network("::ffff:0:0:0/96"), 0),
    (ipaddress.IPv6Network("64:ff9b::/96"), 0),
    (ipaddress.IPv6Network("2002::/16"), 80),
]
#: NAT64 inside one network, which decides where the IPv4 address lies in the IPv6 address.
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
_PRIVATE_REMEDY = "set allow_private for your own host"


def is_public(address: str) -> bool:
    """Whether the address is public; an IPv6 address that carries an IPv4 address is judged by the latter.

    >>> is_public("8.8.8.8"), is_public("64:ff9b::a9fe:a9fe"), is_public("224.0.0.1"), is_public("fec0::1")
    (True, False, False, False)
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        for network, shift in _EMBEDDED:
            if ip in network:
                return is_public(str(ipaddress.IPv4Address(int(ip) >> shift & 0xFFFF_FFFF)))
        if ip.is_site_local or ip in _LOCAL_NAT64:
            return False
    return ip.is_global and not ip.is_multicast


class Poster:
    """Posts for one channel, whose `name` its errors give. Plain HTTP and private addresses need `allow_private`."""

    def __init__(self, name: str, url: str, *, allow_private: bool = False, timeout_s: float = 10.0) -> None:
        """Raises `Fatal` for a URL that must not be called."""
        try:
            checked_url(url)
        except ValueError as error:
            raise Fatal(f"channel {name}: {error}", "correct url or url_file of the channel") from None
        if urlsplit(url).scheme != "https" and not allow_private:
            raise Fatal(f"channel {name}: the URL must be https", "use https, or set allow_private for your own host")
        self.name, self._url, self._private = name, url, allow_private
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)

    async def post(self, body: bytes, headers: dict[str, str] | None = None, query: str = "") -> Answer:
        """The first 64 KiB of the answer; raises `Transient` if none came, `Fatal` for a forbidden address."""
        url = f"{self._url}{'&' if '?' in self._url else '?'}{query}" if query else self._url
        try:
            # aiohttp asks no resolver about a numeric address, so every address is resolved and judged here.
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
                content, complete = await _body(answer)
                wait = waited_s(answer.headers.get("Retry-After", ""), datetime.now(UTC))
                text = self._without_secrets(content.decode("utf-8", "replace"))
                return Answer(answer.status, text, wait, complete)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise self._failure(error) from error

    async def post_json(self, value: Json, query: str = "") -> Answer:
        """Posts JSON."""
        return await self.post(json.dumps(value, ensure_ascii=False).encode(), query=query)

    async def check(self) -> None:
        """Connects, with TLS if the URL asks for it, and sends nothing; raises as `post` does."""
        parts = urlsplit(self._url)
        secure = parts.scheme == "https"
        try:
            address = (await self._addresses())[0]
            context, hostname = (ssl.create_default_context(), parts.hostname) if secure else (None, None)
            connected = asyncio.open_connection(address["host"], address["port"], ssl=context, server_hostname=hostname)
            _, writer = await asyncio.wait_for(connected, self._timeout.total)
            writer.close()
        except (TimeoutError, OSError, ValueError) as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> Transient | Fatal:
        """The failure with its cause in the system's words, without the URL.

        It is `Fatal` for an untrusted certificate and for a URL that cannot be called (UnicodeError is a ValueError).
        """
        cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            said = quoted(cause.verify_message)
            message = f"channel {self.name}: the certificate is not trusted ({said})"
            return Fatal(message, "correct url, or the certificate of the receiver")
        words = quoted(self._without_secrets(str(getattr(cause, "strerror", None) or "")))
        said = f"channel {self.name}: {type(error).__name__}{f' ({words})' if words else ''}"
        if isinstance(error, ValueError) and not isinstance(error, OSError):
            return Fatal(said, "correct url of the channel")
        return Transient(said)

    def _without_secrets(self, text: str) -> str:
        """Removes the parts of the URL that may be a token: a receiver may repeat them in its answer."""
        parts = urlsplit(self._url)
        for secret in re.split(r"[/&=;?]", f"{parts.path}&{parts.query}&{parts.password or ''}"):
            for form in {secret, unquote(secret)}:
                if len(form) >= 8:
                    text = text.replace(form, "***")
        return text

    async def _addresses(self) -> list[ResolveResult]:
        """The receiver's addresses; raises `Fatal` if one of them is not public and `allow_private` is not set."""
        parts = urlsplit(self._url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        results: list[ResolveResult] = []
        for family, _, proto, _, address in infos:
            if not self._private and not is_public(str(address[0])):
                raise Fatal(f"channel {self.name}: {host} is not a public address", _PRIVATE_REMEDY)
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


async def _body(answer: aiohttp.ClientResponse) -> tuple[bytes, bool]:
    """The first `MAX_ANSWER_BYTES` of the body, and whether it came to its end."""
    content = bytearray()
    try:
        while len(content) < MAX_ANSWER_BYTES and (part := await answer.content.read(MAX_ANSWER_BYTES - len(content))):
            content += part
    except (aiohttp.ClientError, TimeoutError, OSError):
        return bytes(content), False
    return bytes(content), True


def waited_s(header: str, now: datetime) -> float | None:
    """The seconds that a Retry-After header asks for as a number or a date; None if it is neither.

    >>> waited_s("60", datetime(2026, 1, 1, tzinfo=UTC)), waited_s("soon", datetime(2026, 1, 1, tzinfo=UTC))
    (60.0, None)
    >>> waited_s("Thu, 01 Jan 2026 00:01:00 GMT", datetime(2026, 1, 1, tzinfo=UTC))
    60.0
    """
    if header.isascii() and header.isdigit():
        return min(MAX_WAIT_S, float(header[:9]))
    try:
        moment = parsedate_to_datetime(header)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return min(MAX_WAIT_S, max(0.0, (moment - now).total_seconds()))


class _Resolved(AbstractResolver):
    """Gives the addresses that were judged before, so that a second look-up cannot change them."""

    def __init__(self, results: list[ResolveResult]) -> None:
        self._results = results

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return self._results

    async def close(self) -> None:
        """Returns: there is nothing to close."""
