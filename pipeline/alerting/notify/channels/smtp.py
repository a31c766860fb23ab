"""A mail server over SMTP: what its answers mean, whether it takes a mail, refuses it or is busy."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from typing import TypeVar

from pipeline.alerting.notify.channels.answers import quoted
from pipeline.domain.errors import Fatal, Transient

T = TypeVar("T")
#: The code and words of the server for each recipient that it refused.
Refused = dict[str, tuple[int, bytes]]


class MailServer:
    """`tls` is `starttls`, `tls` from the first byte, or `none` (own networks only); errors name `channel`."""

    def __init__(
        self,
        channel: str,
        host: str,
        port: int,
        *,
        username: str = "",
        password: str = "",
        tls: str = "starttls",
        ca_file: str = "",
        timeout_s: float = 10.0,
    ) -> None:
        """`ca_file` holds the authorities to trust in place of the system's; raises `Fatal` if it cannot be used."""
        self._channel, self._host, self._port, self._tls, self._timeout_s = channel, host, port, tls, timeout_s
        self._username, self._password = username, password
        try:
            self._context = ssl.create_default_context(cafile=ca_file or None)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError, a NUL character a ValueError
            words = quoted(getattr(error, "strerror", None) or str(error))
            raise Fatal(
                f"channel {channel}: ca_file {quoted(ca_file)} cannot be used ({words})",
                "give a PEM file that this user may read",
            ) from None

    def check(self) -> None:
        """Connects and logs in; raises `Transient` or `Fatal`."""
        self._talk(lambda server: server.noop())

    def deliver(self, mail: EmailMessage, to: Sequence[str]) -> Refused:
        """Hands the mail over; returns the recipients that the server refused, raises `Transient` or `Fatal`."""
        return self._talk(lambda server: _refused(server, mail, to))

    def _talk(self, say: Callable[[smtplib.SMTP], T]) -> T:
        """Runs `say` on a connection with TLS and log-in as the settings ask for."""
        try:
            with self._connected() as server:
                if self._tls == "starttls":
                    server.starttls(context=self._context)
                if self._username:
                    server.login(self._username, self._password)
                return say(server)
        except ssl.SSLCertVerificationError as error:
            raise Fatal(
                f"channel {self._channel}: the certificate of {self._host} is not trusted "
                f"({quoted(error.verify_message)})",
                "correct host, or name the authority in ca_file",
            ) from None
        except (smtplib.SMTPAuthenticationError, smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
            raise self._refusal(error) from None
        except smtplib.SMTPNotSupportedError as error:
            raise Fatal(
                f"channel {self._channel}: the mail server does not offer what the settings ask for "
                f"({quoted(str(error))})",
                "set tls = 'tls' or 'none', or leave username empty",
            ) from None
        except UnicodeError:
            raise Fatal(
                f"channel {self._channel}: this mail server takes only ASCII characters in username and secret",
                "correct username and secret",
            ) from None
        except (smtplib.SMTPException, OSError) as error:
            words = said_by(
                error.smtp_error if isinstance(error, smtplib.SMTPResponseException) else error.strerror or ""
            )
            kind = f"{type(error).__name__}{f' ({words})' if words else ''}"
            raise Transient(f"channel {self._channel}: {kind}", retry_after_s=5.0) from error

    def _refusal(self, error: smtplib.SMTPResponseException) -> Transient | Fatal:
        said = f"{error.smtp_code} {said_by(error.smtp_error)}"
        if 400 <= error.smtp_code < 500:
            return Transient(f"channel {self._channel}: {said}", retry_after_s=30.0)
        if isinstance(error, smtplib.SMTPAuthenticationError):
            message = f"channel {self._channel}: the mail server refuses user or password ({said})"
            return Fatal(message, "correct username and secret")
        return Fatal(f"channel {self._channel}: the mail server refuses ({said})", "check sender and to")

    @contextmanager
    def _connected(self) -> Iterator[smtplib.SMTP]:
        """A connection; how the server ends it says nothing about the mail that it took before."""
        if self._tls == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                self._host, self._port, timeout=self._timeout_s, context=self._context
            )
        else:
            server = smtplib.SMTP(self._host, self._port, timeout=self._timeout_s)
        try:
            yield server
            with suppress(smtplib.SMTPException, OSError):
                server.quit()
        finally:
            server.close()


def said_by(answer: bytes | str) -> str:
    """The words of a mail server in one line."""
    return quoted(answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer)


def _refused(server: smtplib.SMTP, mail: EmailMessage, to: Sequence[str]) -> Refused:
    try:
        return server.send_message(mail, to_addrs=to)
    except smtplib.SMTPRecipientsRefused as error:
        return error.recipients
