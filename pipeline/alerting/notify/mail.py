"""Mail over SMTP; the Message-ID is the idempotency key, so that a repetition is the same mail."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import smtplib
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from email.utils import getaddresses, parseaddr
from html import escape
from typing import TypeVar

from pipeline.alerting.notify.answers import quoted
from pipeline.alerting.notify.channel import Notice
from pipeline.alerting.notify.chart_png import HEIGHT, WIDTH, chart_png
from pipeline.alerting.notify.message import Language, Message, message, plain_text
from pipeline.domain.errors import Fatal, Transient

T = TypeVar("T")
log = logging.getLogger(__name__)
#: Code and words of the server, by recipient.
Refused = dict[str, tuple[int, bytes]]


class MailChannel:
    """Implements `Channel`. `tls` is `starttls`, `tls` from the first byte, or `none` (own networks only)."""

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        *,
        sender: str,
        to: list[str],
        username: str = "",
        password: str = "",
        tls: str = "starttls",
        ca_file: str = "",
        timeout_s: float = 10.0,
        language: Language = "en",
    ) -> None:
        """`ca_file` holds the authorities that count, in place of the system's; raises `Fatal` for a bad one."""
        self.name, self._host, self._port, self._sender, self._to = name, host, port, sender, to
        self._username, self._password, self._tls = username, password, tls
        self._timeout, self._language = timeout_s, language
        self._recipients = [address for _, address in getaddresses(to)]
        #: Of a mail that others took already, by its key: who has still to get it.
        self._left: dict[str, list[str]] = {}
        try:
            self._context = ssl.create_default_context(cafile=ca_file or None)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError, a NUL character a ValueError
            words = quoted(getattr(error, "strerror", None) or str(error))
            raise Fatal(
                f"channel {name}: ca_file {quoted(ca_file)} cannot be used ({words})",
                "give a PEM file that this user may read",
            ) from None

    async def send(self, notice: Notice) -> None:
        await asyncio.to_thread(self._deliver, self.compose(notice), notice.key)

    def compose(self, notice: Notice) -> EmailMessage:
        """The mail: text, and HTML with a chart; threaded by alert."""
        said = message(notice.alert, notice.transition, self._language)
        domain = parseaddr(self._sender)[1].rpartition("@")[2]
        mail = EmailMessage()
        mail["Subject"] = quoted(said.title)
        mail["From"], mail["To"] = self._sender, ", ".join(self._to)
        mail["Message-ID"] = f"<{_digest(notice.key)}@{domain}>"
        thread = f"<{_digest(str(notice.alert.get('id', '')))}@{domain}>"
        mail["In-Reply-To"] = mail["References"] = thread
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(plain_text(said))
        chart = chart_png(notice.alert)
        mail.add_alternative(_html(said, chart is not None), subtype="html")
        if chart is not None:
            html = mail.get_payload(1)
            assert isinstance(html, EmailMessage)  # noqa: S101
            html.add_related(chart, "image", "png", cid="<chart>", filename="chart.png", disposition="inline")
        return mail

    async def check(self) -> None:
        await asyncio.to_thread(self._talk, lambda server: server.noop())

    def _deliver(self, mail: EmailMessage, key: str) -> None:
        """Who took the mail does not get it again because another recipient was refused."""
        to = self._left.pop(key, self._recipients)
        refused = self._talk(lambda server: _refused(server, mail, to))
        if not refused:
            return
        code, words = max(refused.values(), key=lambda answer: answer[0])
        said = f"{code} {_words(words)}"
        later = [address for address, (code, _) in refused.items() if 400 <= code < 500]
        nobody = len(refused) == len(self._recipients)
        if later:
            self._left[key] = to if nobody else later
            raise Transient(f"channel {self.name}: {len(refused)} of {len(to)} recipients refused ({said})", 30.0)
        if nobody:
            raise Fatal(f"channel {self.name}: the mail server refuses ({said})", "check sender and to")
        log.warning(
            "channel %s: %d of %d recipients refused (%s); the others have it", self.name, len(refused), len(to), said
        )

    def _talk(self, say: Callable[[smtplib.SMTP], T]) -> T:
        """What `say` gives on a connection with TLS and log-in as the settings want them."""
        try:
            with self._connected() as server:
                if self._tls == "starttls":
                    server.starttls(context=self._context)
                if self._username:
                    server.login(self._username, self._password)
                return say(server)
        except ssl.SSLCertVerificationError as error:
            raise Fatal(
                f"channel {self.name}: the certificate of {self._host} is not trusted ({quoted(error.verify_message)})",
                "correct host, or name the authority in ca_file",
            ) from None
        except (smtplib.SMTPAuthenticationError, smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
            said = f"{error.smtp_code} {_words(error.smtp_error)}"
            if 400 <= error.smtp_code < 500:
                raise Transient(f"channel {self.name}: {said}", retry_after_s=30.0) from None
            if isinstance(error, smtplib.SMTPAuthenticationError):
                raise Fatal(
                    f"channel {self.name}: the mail server refuses user or password ({said})",
                    "correct username and secret",
                ) from None
            raise Fatal(f"channel {self.name}: the mail server refuses ({said})", "check sender and to") from None
        except smtplib.SMTPNotSupportedError as error:
            raise Fatal(
                f"channel {self.name}: the mail server does not offer what is asked for ({quoted(str(error))})",
                "set tls = 'tls' or 'none', or leave username empty",
            ) from None
        except UnicodeError:
            raise Fatal(
                f"channel {self.name}: username and secret may only have ASCII characters for this mail server",
                "correct username and secret",
            ) from None
        except (smtplib.SMTPException, OSError) as error:
            words = _words(
                error.smtp_error if isinstance(error, smtplib.SMTPResponseException) else error.strerror or ""
            )
            said = f"{type(error).__name__}{f' ({words})' if words else ''}"
            raise Transient(f"channel {self.name}: {said}", retry_after_s=5.0) from error

    @contextmanager
    def _connected(self) -> Iterator[smtplib.SMTP]:
        """A connection; how the server takes its end says nothing of what it took before."""
        if self._tls == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                self._host, self._port, timeout=self._timeout, context=self._context
            )
        else:
            server = smtplib.SMTP(self._host, self._port, timeout=self._timeout)
        try:
            yield server
            with suppress(smtplib.SMTPException, OSError):
                server.quit()
        finally:
            server.close()


def _refused(server: smtplib.SMTP, mail: EmailMessage, to: Sequence[str]) -> Refused:
    try:
        return server.send_message(mail, to_addrs=to)
    except smtplib.SMTPRecipientsRefused as error:
        return error.recipients


def _words(answer: bytes | str) -> str:
    return quoted(answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer)


def _html(said: Message, chart: bool) -> str:
    facts = "".join(f"<li>{escape(fact)}</li>" for fact in said.facts)
    rows = ""
    for text, url, heat in said.evidence:
        link = f' <a href="{escape(url, quote=True)}" rel="noreferrer noopener">link</a>' if url[:4] == "http" else ""
        rows += f"<li>{escape(text)}{f' ({escape(heat)})' if heat else ''}{link}</li>"
    evidence = f"<h3>{escape(said.evidence_heading)}</h3><ol>{rows}</ol>" if rows else ""
    picture = f'<p><img src="cid:chart" width="{WIDTH}" height="{HEIGHT}" alt=""></p>' if chart else ""
    return f"<h2>{escape(said.title)}</h2><ul>{facts}</ul>{picture}{evidence}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
