"""The protocol of a notification channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pipeline.domain.alert import Alert


@dataclass(frozen=True, slots=True)
class Notice:
    """One transition of one alert; a receiver that has seen the idempotency key `key` may ignore the notice."""

    key: str
    transition: str
    alert: Alert


class Channel(Protocol):
    """A way to notify people."""

    @property
    def name(self) -> str: ...

    async def send(self, notice: Notice) -> None:
        """Returns when the receiver has taken it; raises `Transient` to try again, `Fatal` if the receiver refuses."""
        ...

    async def check(self) -> None:
        """Reaches the receiver without notifying anybody; raises as `send` does."""
        ...


@runtime_checkable
class StatefulChannel(Channel, Protocol):
    """A channel whose receiver keeps the open alerts, and ends those that are not refreshed."""

    @property
    def refresh_s(self) -> float:
        """Seconds between two refreshes; the receiver keeps an alert open for many times as long."""
        ...

    async def refresh(self, alerts: Sequence[Alert]) -> None:
        """Reports that these alerts are still open; raises as `send` does."""
        ...
