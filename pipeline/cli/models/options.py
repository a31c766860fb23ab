"""The option that selects a version of the registry."""

from __future__ import annotations

from typing import Annotated

import typer

Version = Annotated[str, typer.Argument(help="An id from 'models list'.")]
