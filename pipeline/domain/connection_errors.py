"""Tells from the exceptions of sockets, TLS and HTTP clients why a host could not be reached. Pure."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from models.text import clean

#: The number of linked exceptions that are looked at.
_MAX_CHAIN = 30
#: OpenSSL's reasons for an answer that is not a TLS record.
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"})
_MAX_CHARACTERS = 300


class Kind(Enum):
    """What prevented the connection."""

    NAME = "name"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    CERTIFICATE = "certificate"
    NOT_TLS = "not_tls"
    TLS = "tls"
    CLOSED = "closed"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a connection failed; `words` explain it to a person in at most a few hundred printable characters."""

    kind: Kind
    words: str


def cause_of(error: BaseException) -> Cause:
    """The most specific cause among `error` and the exceptions behind it; defined for every exception.

    >>> cause_of(ConnectionRefusedError(111, "Connection refused"))
    Cause(kind=<Kind.REFUSED: 'refused'>, words='the connection was refused: nothing listens there')
    """
    found = [cause for each in _chain(error) if (cause := _single(each))]
    specific = [cause for cause in found if cause.kind not in {Kind.OTHER, Kind.CLOSED, Kind.TIMEOUT}]
    others = [cause for cause in found if cause.kind is not Kind.OTHER]
    return (specific or others or found or [Cause(Kind.OTHER, type(error).__name__)])[0]


def printable(text: str, most: int = _MAX_CHARACTERS) -> str:
    """The text as one line of at most `most` characters, without characters that would steer a terminal.

    >>> printable("a\\n  b\\x1b[31m")
    'a b'
    """
    line = "".join(c for c in " ".join(clean(text).split()) if c.isprintable())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and the exceptions behind it: causes, contexts, and exceptions that clients wrap."""
    waiting, seen = [error], set[int]()
    while waiting and len(seen) < _MAX_CHAIN:
        each = waiting.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        inner = (each.__cause__, each.__context__, getattr(each, "reason", None))
        more = getattr(each, "errors", ())
        candidates = (*inner, *each.args, *(more if isinstance(more, list | tuple) else ()))
        waiting += [x for x in candidates if isinstance(x, BaseException)]


def _single(error: BaseException) -> Cause | None:
    name = type(error).__name__
    if isinstance(error, socket.gaierror):
        return Cause(Kind.NAME, f"the host name has no address ({printable(error.strerror or str(error))})")
    if isinstance(error, ssl.SSLCertVerificationError):
        return Cause(Kind.CERTIFICATE, printable(error.verify_message or str(error)))
    if name == "CertificateError":  # urllib3 raises it for a host name that does not match
        return Cause(Kind.CERTIFICATE, printable(str(error)))
    if isinstance(error, ssl.SSLError) and error.reason in _NOT_TLS:
        return Cause(Kind.NOT_TLS, "the server does not speak TLS on that port")
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return Cause(Kind.CLOSED, "the server closed the connection during the TLS handshake")
    if isinstance(error, ssl.SSLError):
        return Cause(Kind.TLS, printable(f"the TLS handshake failed ({error.reason or error})"))
    if isinstance(error, ConnectionRefusedError):
        return Cause(Kind.REFUSED, "the connection was refused: nothing listens there")
    if isinstance(error, TimeoutError):
        return Cause(Kind.TIMEOUT, "the server did not answer in time")
    if isinstance(error, ConnectionError | EOFError):
        return Cause(Kind.CLOSED, "the server closed the connection without an answer")
    if isinstance(error, OSError) and error.strerror:
        return Cause(Kind.OTHER, printable(error.strerror))
    return None
