"""The options that most commands share, and the settings that `--config` selects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipeline.settings import Resolved, Settings

Config = Annotated[
    Path | None, typer.Option("--config", help="Read the settings from this file (default: opinionwatch.toml).")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value on standard output, for programs.")]


def settings_of(config: Path | None, **flags: str | int | None) -> Settings:
    """The settings with the flags applied: a flag's name is its dotted key with `__` for the dot, None is not given."""
    return resolved(config, **flags).settings


def resolved(config: Path | None, **flags: str | int | None) -> Resolved:
    """As `settings_of`, with the origin of every value."""
    from pipeline.settings import resolve

    return resolve(config, {key.replace("__", "."): value for key, value in flags.items()})
