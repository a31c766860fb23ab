"""Checks the form of URLs and hosts. Pure: it asks no name server."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
_MAX_HOST = 253


def checked_url(url: str) -> str:
    """The URL itself; raises `ValueError` with the fault, which never repeats the path (it may contain a token).

    >>> checked_url("https://hooks.example/T0/B1")
    'https://hooks.example/T0/B1'
    >>> checked_url("https://hooks..example/x")
    Traceback (most recent call last):
    ValueError: the host 'hooks..example' has an empty label; write it as host.domain
    """
    if any(c.isspace() or not c.isprintable() for c in url):
        raise ValueError("the URL contains a space, a line break or a control character; remove it")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        if "port" in str(error).lower():
            raise ValueError("the port of the URL is not a number from 1 to 65535; correct it") from None
        raise ValueError("the URL has a malformed host; write an IPv6 address as [address]") from None
    if parts.scheme not in {"http", "https"}:
        raise ValueError("the URL must begin with https:// (or http://)")
    if not host:
        raise ValueError("the URL has no host; write https://HOST/...")
    if port == 0:
        raise ValueError("the port of the URL is not a number from 1 to 65535; correct it")
    checked_host(host)
    return url


def checked_host(host: str) -> str:
    """A host name or an address; raises `ValueError` with the fault.

    >>> checked_host("mail.example"), checked_host("诺瓦.example"), checked_host("::1")
    ('mail.example', '诺瓦.example', '::1')
    """
    if _is_address(host):
        return host
    if not host or ":" in host:
        raise ValueError(f"the host {host!r} is neither a name nor an address; correct it")
    labels = host.removesuffix(".").split(".")
    if "" in labels:
        raise ValueError(f"the host {host!r} has an empty label; write it as host.domain")
    encoded = [_encoded(label) for label in labels]
    if len(".".join(encoded)) > _MAX_HOST:
        raise ValueError(f"the host {host[:40]}... is longer than {_MAX_HOST} characters; correct it")
    if encoded[-1].isdigit():
        raise ValueError(f"the host {host!r} is neither a name nor an address; correct it")
    return host


def _encoded(label: str) -> str:
    try:
        text = label if label.isascii() else label.encode("idna").decode()
    except UnicodeError:
        text = ""
    if len(text or label) > 63:
        raise ValueError(f"the host has a label of more than 63 characters ({label[:20]}...); correct it")
    if not _LABEL.fullmatch(text):
        raise ValueError(f"the host has a label that is not valid in a host name ({label[:40]!r}); correct it")
    return text


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
