"""What a channel is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Notice:
    """One transition of one alert; `key` is its idempotency key: a receiver that saw it may ignore it."""

    key: str
    transition: str
    alert: Mapping[str, Any]


class Channel(Protocol):
    """A way to tell people."""

    @property
    def name(self) -> str: ...

    async def send(self, notice: Notice) -> None:
        """Returns when the receiver has it; raises `Transient` (try again) or `Fatal` (it refuses)."""
        ...

    async def check(self) -> None:
        """Reaches the receiver and tells nobody; raises as `send` does."""
        ...


@runtime_checkable
class StatefulChannel(Channel, Protocol):
    """A receiver that holds what is open, and takes for ended what it does not hear of again."""

    @property
    def refresh_s(self) -> float:
        """Seconds between two refreshes; what was refreshed stays open for many times as long."""
        ...

    async def refresh(self, alerts: Sequence[Mapping[str, Any]]) -> None:
        """Says of alert documents (with their `id`) that they are still open; raises as `send` does."""
        ...
