"""The interface of a lane, which applies one rule to every key and follows the episodes that it finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pipeline.alerting.counting.table import CountTable
from pipeline.alerting.evaluation.episodes import Episode
from pipeline.alerting.evaluation.events import Event
from pipeline.alerting.evaluation.exclusions import Period


@dataclass(frozen=True, slots=True)
class LaneState:
    """The state with which a lane goes on after a restart; it learns everything else from the counts.

    A key does not learn in its `exclusions`.
    """

    episodes: tuple[Episode, ...] = ()
    exclusions: tuple[Period, ...] = ()


class Lane(Protocol):
    """The caller passes every bucket once, in order, to one of `learn`, `warm_up` and `step`.

    It names a bucket by the column of the table that follows it.
    """

    def forget(self) -> None:
        """Drops the baselines, because the caller starts again with an empty table. Episodes go on."""
        ...

    def learn(self, table: CountTable, column: int) -> None:
        """Learns from the bucket before `column`."""
        ...

    def warm_up(self, table: CountTable, column: int) -> None:
        """Learns like `learn`, at a first start: no episodes are known, so what may have been one is excluded."""
        ...

    def step(self, table: CountTable, column: int) -> list[Event]:
        """Learns from the bucket before `column`, and evaluates it."""
        ...

    def restore(self, state: LaneState) -> None:
        """Goes on with the state that another lane of this kind, in this process or another, returned."""
        ...

    def state(self, learned_from: int) -> LaneState:
        """The state to save; exclusions that ended by `learned_from` (seconds since the epoch) are dropped."""
        ...

    def followed(self) -> set[str]:
        """The ids of the episodes that go on."""
        ...
