"""Checks addresses of other services for credentials and form. Messages never repeat a value: it may be a secret."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

_USER_AND_PASSWORD = re.compile(r"://[^/?#\s]*:\S*@")  # a password may contain a slash
#: Parameters in which storages and databases accept credentials.
_CREDENTIAL = re.compile(
    r"[?&;](?:[\w.-]*(?:key|token|secret|password|passwd|pwd|sig|signature|credential)[\w.-]*)=", re.I
)
#: A host or an IPv6 address in brackets, and a port.
_BROKER = re.compile(
    r"(?:\[[0-9A-Fa-f:.%\w]+\]|[^\s:\[\]]+)(?::0*(?:[1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5]))?"
)
_HINT = "; set store.password, or OPINIONWATCH_STORE__PASSWORD_FILE to a file that holds it"
_TOPIC = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")


def holds_credentials(text: str) -> bool:
    """Whether a URL has a password before its host, or a parameter whose name means a credential.

    >>> holds_credentials("s3://key:secret@bucket/models"), holds_credentials("abfs://models@account/x?sig=abc")
    (True, True)
    >>> holds_credentials("https://elastic@es:9200"), holds_credentials("D:/models?x=1")
    (False, False)
    """
    return "://" in text and bool(_USER_AND_PASSWORD.search(text) or _CREDENTIAL.search(text))


def check_store_url(url: str) -> str:
    """`url` itself; raises `ValueError` where it is not `sqlite:///path` or `http(s)://[user@]host:port[/path]`."""
    if url.startswith("sqlite:///") and len(url) > len("sqlite:///"):
        return url
    remedy = "write sqlite:///path or https://user@host:9200"
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"the URL is neither SQLite nor Elasticsearch; {remedy}")
    try:
        parts = urlsplit(url)
        port, user = parts.port, unquote(parts.username or "")
    except ValueError:
        # The part of a password behind a slash looks like a wrong port.
        raise ValueError(f"the URL has a wrong host or port, or it contains a password; {remedy}{_HINT}") from None
    if parts.password is not None or ":" in user or "@" in f"{parts.path}{parts.query}{parts.fragment}":
        raise ValueError(f"the URL contains a password{_HINT}")
    if parts.query or parts.fragment:
        raise ValueError(f"the URL ends in ?... or #..., which a store does not accept; {remedy}")
    if not parts.hostname or port == 0 or re.search(r"\s", url):
        raise ValueError(f"the URL has no valid host; {remedy}")
    return url


def check_registry_url(url: str) -> str:
    """`url` itself; raises `ValueError` where a URL contains credentials (a plain folder may have any name)."""
    if holds_credentials(url):
        raise ValueError(
            "the URL contains credentials; leave them out and give them to the storage's own client, in environment "
            "variables (AWS_ACCESS_KEY_ID ...) or in its configuration file"
        )
    return url


def check_brokers(servers: str) -> str:
    """`servers` itself; raises `ValueError` where it is not `host:port,...` (or one word, such as `embedded`)."""
    if "@" in servers or "://" in servers:
        raise ValueError(
            "write only host:port,...; set kafka.username and kafka.password for the credentials "
            "(or OPINIONWATCH_KAFKA__PASSWORD_FILE)"
        )
    if not all(_BROKER.fullmatch(server.strip()) for server in servers.split(",")):
        raise ValueError("write host:port,... with ports from 1 to 65535")
    return servers


def check_topic(name: str) -> str:
    """`name` itself; raises `ValueError` where Kafka does not allow that name for a topic."""
    if not _TOPIC.fullmatch(name):
        raise ValueError(f"{name[:60]!r} cannot name a topic: write 1 to 249 of the characters A-Z a-z 0-9 . _ -")
    return name
