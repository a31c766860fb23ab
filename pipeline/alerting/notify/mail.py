"""Mail over SMTP; the Message-ID is the idempotency key, so that a repetition is the same mail."""

from __future__ import annotations

import asyncio
import hashlib
import smtplib
import ssl
from email.message import EmailMessage
from html import escape

from pipeline.alerting.notify.base import Notice
from pipeline.alerting.notify.message import Language, Message, message, plain_text
from pipeline.alerting.notify.picture import HEIGHT, WIDTH, chart_png
from pipeline.errors import Fatal, Transient


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
        timeout_s: float = 10.0,
        language: Language = "en",
    ) -> None:
        self.name, self._host, self._port, self._sender, self._to = name, host, port, sender, to
        self._username, self._password, self._tls = username, password, tls
        self._timeout, self._language = timeout_s, language

    async def send(self, notice: Notice) -> None:
        await asyncio.to_thread(self._deliver, self.compose(notice))

    def compose(self, notice: Notice) -> EmailMessage:
        """The mail: text, and HTML with a chart; threaded by alert."""
        said = message(notice.alert, notice.transition, self._language)
        domain = self._sender.rpartition("@")[2]
        mail = EmailMessage()
        mail["Subject"] = said.title.replace("\n", " ")
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

    def _deliver(self, mail: EmailMessage) -> None:
        try:
            kind = smtplib.SMTP_SSL if self._tls == "tls" else smtplib.SMTP
            with kind(self._host, self._port, timeout=self._timeout) as server:
                if self._tls == "starttls":
                    server.starttls(context=ssl.create_default_context())
                if self._username:
                    server.login(self._username, self._password)
                refused = server.send_message(mail)
        except smtplib.SMTPAuthenticationError:
            raise Fatal(f"channel {self.name}: the mail server refuses user or password", "correct them") from None
        except (smtplib.SMTPRecipientsRefused, smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
            codes = (
                [code for code, _ in error.recipients.values()]
                if isinstance(error, smtplib.SMTPRecipientsRefused)
                else [error.smtp_code]
            )
            code = max(codes)
            if 400 <= code < 500:
                raise Transient(f"channel {self.name}: {code}", retry_after_s=30.0) from None
            raise Fatal(f"channel {self.name}: the mail server refuses ({code})", "check sender and to") from None
        except smtplib.SMTPNotSupportedError:
            raise Fatal(f"channel {self.name}: the mail server offers no TLS", "set tls = 'tls' or 'none'") from None
        except (smtplib.SMTPException, OSError) as error:
            raise Transient(f"channel {self.name}: {type(error).__name__}", retry_after_s=5.0) from error
        if refused:
            raise Fatal(f"channel {self.name}: {len(refused)} recipients refused", "check 'to'")


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
