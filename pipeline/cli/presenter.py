"""How a command prints its result: as lines for people, or as one JSON value for programs."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import RenderableType

from pipeline.cli.terminal import json_text, out


@dataclass(frozen=True, slots=True)
class Presenter:
    """Prints what a command found, in the one form that its caller asked for."""

    as_json: bool = False

    def show(self, result: object, lines: Iterable[RenderableType]) -> None:
        """Prints `result` as JSON, or else `lines`; a generator of lines runs only where they are printed."""
        if self.as_json:
            sys.stdout.write(json_text(result) + "\n")
            sys.stdout.flush()
            return
        for line in lines:
            self.line(line)

    def line(self, line: RenderableType) -> None:
        """Prints a line for people while the command still works; with `--json` it prints nothing."""
        if not self.as_json:
            out.print(line, markup=False)
