"""Mail over SMTP; the Message-ID is the idempotency key, so that a repetition is the same mail."""

from __future__ import annotations

import asyncio
import hashlib
import smtplib
import ssl
from collections.abc import Callable
from email.message import EmailMessage
from email.utils import parseaddr
from html import escape
from typing import TypeVar

from pipeline.alerting.notify.answers import quoted
from pipeline.alerting.notify.base import Notice
from pipeline.alerting.notify.message import Language, Message, message, plain_text
from pipeline.alerting.notify.picture import HEIGHT, WIDTH, chart_png
from pipeline.errors import Fatal, Transient

T = TypeVar("T")


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
        try:
            self._context = ssl.create_default_context(cafile=ca_file or None)
        except OSError as error:  # ssl.SSLError is one
            raise Fatal(
                f"channel {name}: ca_file {ca_file} cannot be used ({quoted(error.strerror or str(error))})",
                "give a PEM file that this user may read",
            ) from None

    async def send(self, notice: Notice) -> None:
        await asyncio.to_thread(self._deliver, self.compose(notice))

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

    def _deliver(self, mail: EmailMessage) -> None:
        refused = self._talk(lambda server: server.send_message(mail))
        if refused:
            raise Fatal(f"channel {self.name}: {len(refused)} recipients refused", "check 'to'")

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
        except smtplib.SMTPAuthenticationError as error:
            raise Fatal(
                f"channel {self.name}: the mail server refuses user or password ({_words(error.smtp_error)})",
                "correct username and secret",
            ) from None
        except (smtplib.SMTPRecipientsRefused, smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
            answers = (
                list(error.recipients.values())
                if isinstance(error, smtplib.SMTPRecipientsRefused)
                else [(error.smtp_code, error.smtp_error)]
            )
            code, words = max(answers, key=lambda answer: answer[0])
            if 400 <= code < 500:
                raise Transient(f"channel {self.name}: {code} {_words(words)}", retry_after_s=30.0) from None
            raise Fatal(
                f"channel {self.name}: the mail server refuses ({code} {_words(words)})", "check sender and to"
            ) from None
        except smtplib.SMTPNotSupportedError as error:
            raise Fatal(
                f"channel {self.name}: the mail server does not offer what is asked for ({quoted(str(error))})",
                "set tls = 'tls' or 'none', or leave username empty",
            ) from None
        except (smtplib.SMTPException, OSError) as error:
            words = f" ({_words(error.smtp_error)})" if isinstance(error, smtplib.SMTPResponseException) else ""
            raise Transient(f"channel {self.name}: {type(error).__name__}{words}", retry_after_s=5.0) from error

    def _connected(self) -> smtplib.SMTP:
        if self._tls == "tls":
            return smtplib.SMTP_SSL(self._host, self._port, timeout=self._timeout, context=self._context)
        return smtplib.SMTP(self._host, self._port, timeout=self._timeout)


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
