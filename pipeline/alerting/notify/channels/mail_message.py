"""The mail on one notice: text, and HTML with a chart, from the templates of this package."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from email.message import EmailMessage
from email.utils import parseaddr
from functools import cache
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from pipeline.alerting.alerts.origin import Language
from pipeline.alerting.notify.channel import Notice
from pipeline.alerting.notify.channels.answers import quoted
from pipeline.alerting.notify.channels.chart_png import HEIGHT, WIDTH, chart_png
from pipeline.alerting.notify.channels.message import Message, message


class _Chart(NamedTuple):
    width: int
    height: int


def mail_on(notice: Notice, sender: str, to: Sequence[str], language: Language) -> EmailMessage:
    """The mail; its Message-ID is the same for every attempt, and the mails on one alert are one thread."""
    said = message(notice.alert, notice.transition, language)
    domain = parseaddr(sender)[1].rpartition("@")[2]
    mail = EmailMessage()
    mail["Subject"] = quoted(said.title)
    mail["From"], mail["To"] = sender, ", ".join(to)
    mail["Message-ID"] = f"<{_digest(notice.key)}@{domain}>"
    thread = f"<{_digest(notice.alert.id)}@{domain}>"
    mail["In-Reply-To"] = mail["References"] = thread
    mail["Auto-Submitted"] = "auto-generated"
    chart = chart_png(notice.alert)
    mail.set_content(_rendered("mail.txt", said, None))
    mail.add_alternative(_rendered("mail.html", said, _Chart(WIDTH, HEIGHT) if chart else None), subtype="html")
    if chart is not None:
        html = mail.get_payload(1)
        assert isinstance(html, EmailMessage)  # noqa: S101
        html.add_related(chart, "image", "png", cid="<chart>", filename="chart.png", disposition="inline")
    return mail


@cache
def _templates() -> Environment:
    """The templates; what they insert into HTML is escaped."""
    return Environment(
        loader=PackageLoader("pipeline.alerting.notify.channels"),
        autoescape=select_autoescape(("html",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _rendered(template: str, said: Message, chart: _Chart | None) -> str:
    return _templates().get_template(template).render(message=said, chart=chart)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
