"""Mail; the Message-ID is the idempotency key, so that a repetition is the same mail."""

from __future__ import annotations

import asyncio
import logging
from email.message import EmailMessage
from email.utils import getaddresses

from pipeline.alerting.alerts.origin import Language
from pipeline.alerting.notify.channel import Notice
from pipeline.alerting.notify.channels.mail_message import mail_on
from pipeline.alerting.notify.channels.smtp import MailServer, said_by
from pipeline.domain.errors import Fatal, Transient

log = logging.getLogger(__name__)


class MailChannel:
    """Implements `Channel`."""

    def __init__(self, name: str, server: MailServer, *, sender: str, to: list[str], language: Language = "en") -> None:
        self.name, self._server, self._sender, self._to, self._language = name, server, sender, to, language
        self._recipients = [address for _, address in getaddresses(to)]
        #: The recipients who have still to get a mail that others took already, by the key of its notice.
        self._left: dict[str, list[str]] = {}

    async def send(self, notice: Notice) -> None:
        await asyncio.to_thread(self._deliver, self.compose(notice), notice.key)

    def compose(self, notice: Notice) -> EmailMessage:
        """The mail on a notice."""
        return mail_on(notice, self._sender, self._to, self._language)

    async def check(self) -> None:
        await asyncio.to_thread(self._server.check)

    def _deliver(self, mail: EmailMessage, key: str) -> None:
        """Sends the mail to the recipients who do not have it yet: nobody gets it twice because another was refused."""
        to = self._left.pop(key, self._recipients)
        refused = self._server.deliver(mail, to)
        if not refused:
            return
        code, words = max(refused.values(), key=lambda answer: answer[0])
        said = f"{code} {said_by(words)}"
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
