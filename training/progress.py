"""What a training reports after some of its steps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """Steps done and planned, mean loss since the last report, rows per second, minutes left.

    `validation` is the mean macro F1 over the heads where this step ended with an evaluation.
    """

    step: int
    steps: int
    loss: float
    rows_per_s: float
    minutes_left: float
    validation: float | None = None

    def line(self) -> str:
        """One report as a line for people."""
        scored = f"  validation macro F1 {self.validation:.4f}" if self.validation is not None else ""
        return (
            f"step {self.step}/{self.steps}  loss {self.loss:.4f}  {self.rows_per_s:.0f} rows/s  "
            f"{self.minutes_left:.1f} min left{scored}"
        )
