"""`opinionwatch models register`."""

from __future__ import annotations

import getpass
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import AsJson, Config, settings_of
from pipeline.cli.presenter import Presenter


def register(
    bundle: Annotated[Path, typer.Argument(help="The folder of a bundle.")],
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Verify a bundle and copy it into the registry, where no alias names it yet.

    Example: opinionwatch models register my-bundle
    """
    from pipeline.cli.models.registry import refusing, registry_of

    registry = registry_of(settings_of(config).model)
    entry = refusing(lambda: registry.register(bundle, by=getpass.getuser()))
    Presenter(as_json).show(asdict(entry), [f"registered {entry.id} as number {entry.sequence}"])
