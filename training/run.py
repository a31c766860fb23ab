"""One training run: what every step of it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from training.config import Hyperparameters, TrainingConfig
from training.process_group import ProcessGroup
from training.progress import Progress


def _ignore(_: object) -> None: ...


@dataclass(frozen=True, slots=True)
class Reporter:
    """Where a run reports: `log` takes a line for people, `progress` takes the figures of a step."""

    log: Callable[[str], None] = _ignore
    progress: Callable[[Progress], None] = _ignore


@dataclass(frozen=True, slots=True)
class Run:
    """The configuration, the work folder, the reporter and the process group of a training.

    Only the first process of the group reports; the others log nothing.
    """

    config: TrainingConfig
    work: Path
    reporter: Reporter = Reporter()
    group: ProcessGroup = field(default_factory=ProcessGroup)

    @property
    def settings(self) -> Hyperparameters:
        return self.config.train

    def log(self, line: str) -> None:
        """Reports a line for people, once for all processes."""
        if self.group.first:
            self.reporter.log(line)

    def with_seed(self, seed: int, work: Path) -> Run:
        """The same run with another seed, in a work folder of its own."""
        settings = self.settings.model_copy(update={"seed": seed})
        return replace(self, config=self.config.model_copy(update={"train": settings}), work=work)
