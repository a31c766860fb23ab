"""The log as a channel: one line, no post text."""

from __future__ import annotations

import logging

from pipeline.alerting.explain import headline
from pipeline.alerting.notify.base import Notice

log = logging.getLogger("opinionwatch.alerts")


class LogChannel:
    """Implements `Channel`."""

    name = "log"

    async def send(self, notice: Notice) -> None:
        log.warning("%s [%s]", headline(notice.alert, notice.transition), notice.key)
