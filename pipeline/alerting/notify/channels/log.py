"""The log as a channel: one line per notice, without the text of a post."""

from __future__ import annotations

import logging

from pipeline.alerting.alerts.headline import headline
from pipeline.alerting.notify.channel import Notice

log = logging.getLogger("opinionwatch.alerts")
#: The log that every worker writes. Nobody counts as notified by it.
LOG = "log"


class LogChannel:
    """Implements `Channel`. Under another name than `LOG`, people are expected to read it and count as notified."""

    def __init__(self, name: str = LOG) -> None:
        self.name = name

    async def check(self) -> None:
        """Returns: the log needs nothing."""

    async def send(self, notice: Notice) -> None:
        log.warning("%s [%s]", headline(notice.alert, notice.transition), notice.key)
