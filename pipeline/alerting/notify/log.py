"""The log as a channel: one line, no post text."""

from __future__ import annotations

import logging

from pipeline.alerting.explain import headline
from pipeline.alerting.notify.base import Notice

log = logging.getLogger("opinionwatch.alerts")


class LogChannel:
    """Implements `Channel`; with `people` somebody reads it, and an alert that stands there has been told."""

    def __init__(self, name: str = "log", *, people: bool = False) -> None:
        self.name, self.people = name, people

    async def check(self) -> None:
        """Needs nothing."""

    async def send(self, notice: Notice) -> None:
        log.warning("%s [%s]", headline(notice.alert, notice.transition), notice.key)
