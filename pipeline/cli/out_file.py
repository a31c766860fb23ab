"""The file that `--out` names."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

from pipeline.domain.errors import EXIT_USAGE, Fatal


def written(path: Path) -> TextIO:
    """A new file for text, line ends as they are written; raises `Fatal` where there can be none."""
    try:
        return path.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise Fatal(f"--out {path}: {error.strerror}", "name a file that can be written", EXIT_USAGE) from None
