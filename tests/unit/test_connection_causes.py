"""Each way in which a connection fails has its kind and its words, wherever a client puts the cause."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest

from pipeline.domain.connection_errors import Cause, Kind, cause_of, printable


class CertificateError(Exception):
    """As urllib3 calls its own."""


def tls(kind: type[ssl.SSLError], reason: str | None = None, said: str = "it failed") -> ssl.SSLError:
    error = kind(1, said)
    error.reason = reason  # type: ignore[assignment]
    return error


def certificate(said: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "CERTIFICATE_VERIFY_FAILED")
    error.verify_message = said
    return error


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), Kind.NAME, "(Name or service not known)"),
        (socket.gaierror("no strerror"), Kind.NAME, "(no strerror)"),
        (certificate("certificate has expired"), Kind.CERTIFICATE, "certificate has expired"),
        (certificate(""), Kind.CERTIFICATE, "CERTIFICATE_VERIFY_FAILED"),
        (CertificateError("hostname 'a' doesn't match 'b'"), Kind.CERTIFICATE, "hostname 'a' doesn't match 'b'"),
        (tls(ssl.SSLError, "WRONG_VERSION_NUMBER"), Kind.NOT_TLS, "does not speak TLS"),
        (tls(ssl.SSLError, "HTTP_REQUEST"), Kind.NOT_TLS, "does not speak TLS"),
        (tls(ssl.SSLEOFError), Kind.CLOSED, "during the TLS handshake"),
        (tls(ssl.SSLZeroReturnError), Kind.CLOSED, "during the TLS handshake"),
        (tls(ssl.SSLError, "SSLV3_ALERT_HANDSHAKE_FAILURE"), Kind.TLS, "(SSLV3_ALERT_HANDSHAKE_FAILURE)"),
        (tls(ssl.SSLError, None, "no reason"), Kind.TLS, "no reason"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), Kind.REFUSED, "nothing listens there"),
        (TimeoutError(), Kind.TIMEOUT, "in time"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), Kind.CLOSED, "without an answer"),
        (EOFError(), Kind.CLOSED, "without an answer"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), Kind.OTHER, "Network is unreachable"),
        (OSError("no number"), Kind.OTHER, "OSError"),
        (ValueError("not of a socket"), Kind.OTHER, "ValueError"),
    ],
)
def test_each_failure_has_its_kind_and_its_words(error: Exception, kind: Kind, words: str) -> None:
    found = cause_of(error)
    assert found.kind is kind
    assert words in found.words


def test_a_cause_is_found_where_clients_put_it() -> None:
    refused = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    raised, during = ValueError("from"), ValueError("during")
    raised.__cause__, during.__context__ = refused, refused
    reason, listed = ValueError("urllib3"), ValueError("elasticsearch")
    reason.reason, listed.errors = refused, [refused]  # type: ignore[attr-defined]
    for error in (raised, during, reason, listed, ValueError("given", refused), ValueError(ValueError(refused))):
        assert cause_of(error).kind is Kind.REFUSED


def test_what_tells_more_is_taken_before_what_tells_less() -> None:
    timeout, closed, other = TimeoutError(), EOFError(), OSError(errno.EIO, "I/O error")
    refused = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    assert cause_of(ValueError(timeout, refused)).kind is Kind.REFUSED
    assert cause_of(ValueError(closed, refused)).kind is Kind.REFUSED
    assert cause_of(ValueError(other, timeout)).kind is Kind.TIMEOUT
    assert cause_of(ValueError(other, closed)).kind is Kind.CLOSED
    assert cause_of(ValueError(timeout, closed)).kind is Kind.TIMEOUT, "of those that tell alike the first"


def test_errors_that_hold_each_other_come_to_an_end() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert cause_of(one) == Cause(Kind.OTHER, "ValueError")
    inner: BaseException = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    for _ in range(28):
        inner = ValueError(inner)
    assert cause_of(inner).kind is Kind.REFUSED, "of thirty errors each is looked at"
    assert cause_of(ValueError(ValueError(inner))).kind is Kind.OTHER, "and no more"


def test_a_long_text_is_cut_with_an_ellipsis() -> None:
    assert printable("x" * 300) == "x" * 300
    assert printable("x" * 301) == "x" * 299 + "…"
    assert printable("abc", 3) == "abc"
    assert printable("abcd", 3) == "ab…"
