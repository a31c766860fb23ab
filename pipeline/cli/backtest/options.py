"""What a backtest may be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pipeline.domain.errors import EXIT_USAGE, Fatal


class Gaps(StrEnum):
    """Whether a row that a key lacks is an error or means no posts."""

    error = "error"
    zero = "zero"


class Lane(StrEnum):
    """Whether the rule watches the negative share or the volume."""

    negative = "negative"
    volume = "volume"


@dataclass(frozen=True, slots=True)
class Request:
    """The history of `file`, or without a file of the index, and how to calibrate on it.

    `days` bounds the history of the index (None: as many as a calibration reads).
    """

    file: Path | None
    days: int | None
    lane: Lane
    gaps: Gaps
    target: float | None
    calibrate_on: Path | None
    real: tuple[str, ...]
    save: bool

    def check(self) -> None:
        """Raises `Fatal` for options that exclude each other."""
        if self.save and (self.file or self.lane is not Lane.negative or self.target is None):
            raise Fatal(
                "--save needs --index, --target-false-alerts and the negative lane", "add these options", EXIT_USAGE
            )
        if self.calibrate_on is not None and self.target is None:
            raise Fatal(
                "--calibrate-on needs --target-false-alerts", "add a rate, e.g. --target-false-alerts 0.1", EXIT_USAGE
            )
        if self.real and (self.save or self.target is None):
            raise Fatal(
                "--except needs --target-false-alerts and excludes --save",
                "to keep a threshold, acknowledge the alert: a calibration leaves acknowledged alerts out",
                EXIT_USAGE,
            )
