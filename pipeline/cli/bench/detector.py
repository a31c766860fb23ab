"""`opinionwatch bench detector`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import typer

from pipeline.cli.options import AsJson
from pipeline.domain.errors import EXIT_USAGE, Fatal


def detector(as_json: AsJson = False) -> None:
    """Compare the alert rule with its baselines on simulated streams; it needs a checkout.

    Example: opinionwatch bench detector
    """
    root = Path(__file__).resolve().parents[3]
    if not (root / "benchmarks" / "detector.py").exists():
        raise Fatal("the simulator is not installed", "run the command from a checkout of opinionwatch", EXIT_USAGE)
    command = [sys.executable, "-m", "benchmarks.detector", *(["--json"] if as_json else [])]
    raise typer.Exit(subprocess.run(command, cwd=root, check=False).returncode)  # noqa: S603
