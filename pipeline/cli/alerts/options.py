"""The options that the commands on one alert share."""

from __future__ import annotations

from typing import Annotated

import typer

AlertId = Annotated[str, typer.Argument(help="An id from 'alerts list'.")]
By = Annotated[str | None, typer.Option("--by", help="Record this person (default: the current user).")]
