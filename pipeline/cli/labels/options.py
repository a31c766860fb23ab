"""The option that commands on labels share."""

from __future__ import annotations

from typing import Annotated

import typer

HeadName = Annotated[
    str | None, typer.Option("--head", help="Use this head for labels that name none (default: alerts.head).")
]
