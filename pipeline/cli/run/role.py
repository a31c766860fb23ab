"""The roles of a worker."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """The work that a process does."""

    classify = "classify"
    alert = "alert"
    console = "console"
    all = "all"

    @property
    def classifies(self) -> bool:
        return self in {Role.classify, Role.all}

    @property
    def alerts(self) -> bool:
        return self in {Role.alert, Role.all}

    @property
    def shows(self) -> bool:
        return self in {Role.console, Role.all}
