"""The log as a channel: one line, no post text."""

from __future__ import annotations

import logging

from pipeline.alerting.alerts.document import headline
from pipeline.alerting.notify.channel import Notice

log = logging.getLogger("opinionwatch.alerts")
#: The name of the log that every worker writes, which is nobody's channel.
LOG = "log"


class LogChannel:
    """Implements `Channel`. Under another name than `LOG` somebody reads it: what stands there has been told."""

    def __init__(self, name: str = LOG) -> None:
        self.name = name

    async def check(self) -> None:
        """Needs nothing."""

    async def send(self, notice: Notice) -> None:
        log.warning("%s [%s]", headline(notice.alert, notice.transition), notice.key)
