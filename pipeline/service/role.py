"""What every role of a worker process has, and what a role needs of its process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pipeline.domain.metrics import Metrics
from pipeline.settings import Settings
from pipeline.store.protocol import MonitoringStore

if TYPE_CHECKING:
    from pipeline.kafka.strict import StrictApp


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What the roles of one process share; `fail` ends the process with an error."""

    settings: Settings
    brokers: str
    store: MonitoringStore
    metrics: Metrics
    fail: Callable[[BaseException], None]


class Role(Protocol):
    """One role: a Faust app and the tasks that run with it."""

    @property
    def app(self) -> StrictApp: ...

    @property
    def topics(self) -> Sequence[str]:
        """The topics that the role reads."""
        ...

    @property
    def background(self) -> Sequence[Callable[[], Awaitable[None]]]:
        """What runs until it is cancelled, from when the app has started."""
        ...

    async def start(self) -> None:
        """Starts the app; raises what keeps it from starting."""
        ...

    def waits_for(self) -> str | None:
        """Returns what keeps the role from making progress; None if nothing does."""
        ...

    def close(self) -> None:
        """Releases what the role holds; call it after the app has stopped."""
        ...
