"""The file that `--out` names."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

from pipeline.domain.errors import EXIT_USAGE, Fatal


def open_for_writing(path: Path) -> TextIO:
    """A new text file without translation of line ends; raises `Fatal` where the file cannot be created."""
    try:
        return path.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise Fatal(f"--out {path}: {error.strerror}", "give a path that can be written", EXIT_USAGE) from None
