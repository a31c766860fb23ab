"""What a channel is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


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
        """Returns when the receiver has it; raises `Transient` (try again) or `Fatal` (it never will)."""
        ...
