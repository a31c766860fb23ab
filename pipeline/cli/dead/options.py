"""The options that select dead letters."""

from __future__ import annotations

from typing import Annotated

import typer

LetterId = Annotated[str | None, typer.Argument(help="One id; without it, all letters that pass the filters.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Select only this reason, e.g. not_utf8.")]
Stage = Annotated[
    str | None, typer.Option("--stage", help="Select only this stage: decode, classify, subjects or index.")
]
