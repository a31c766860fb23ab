"""The options that the training commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Recipe = Annotated[
    Path | None, typer.Option("--config", help="Read this recipe (TOML): heads, sources, hyperparameters.")
]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Look in this folder for the files that the recipe names.")
]
Data = Annotated[
    list[Path] | None,
    typer.Option("--data", help="Read this labelled file (JSONL, CSV, Label Studio, doccano, Argilla). Repeatable."),
]
ForGpu = Annotated[bool, typer.Option("--for-gpu", help="Add to the bundle the graph that a GPU runs.")]
HeadName = Annotated[str, typer.Option("--head", help="Use this head for labels that name none.")]
