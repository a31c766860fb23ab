"""`opinionwatch train` and `evaluate`: they need the extra `train`, which serving does not have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.commands.common import AsJson, err, out, print_json
from pipeline.errors import EXIT_CONFIG, Fatal

ConfigFile = Annotated[Path, typer.Option("--config", help="The recipe (TOML).")]
DataDir = Annotated[Path, typer.Option("--data-dir", help="Folder of the files that the recipe names.")]


def train(
    config: ConfigFile,
    data_dir: DataDir,
    base: Annotated[Path, typer.Option("--base", help="A BERT encoder's folder, or a bundle to go on from.")],
    out_dir: Annotated[Path, typer.Option("--out", help="The bundle to write; its work folder resumes.")],
    version: Annotated[str, typer.Option("--version", help="The bundle's version.")] = "0.0.1",
    as_json: AsJson = False,
) -> None:
    """Fine-tunes and exports a bundle; started again, it goes on from the last checkpoint.

    Example: opinionwatch train --config training/configs/starter.toml --data-dir DATA --base MINILM --out my-bundle
    """
    scores = _module().train(config, data_dir, base, out_dir, version, lambda line: err.print(line, markup=False))
    _show(scores, as_json)


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    config: ConfigFile,
    data_dir: DataDir,
    as_json: AsJson = False,
) -> None:
    """Accuracy, macro recall and macro F1 of a bundle on the evaluation files of a recipe.

    Example: opinionwatch evaluate models/starter --config training/configs/starter.toml --data-dir DATA
    """
    _show(_module().evaluate(bundle, config, data_dir), as_json)


def _module() -> Any:
    try:
        from importlib import import_module

        return import_module("training.command")
    except ImportError as error:
        raise Fatal(f"training needs {error.name}", "pip install 'opinionwatch[train]' (5 GB)", EXIT_CONFIG) from None


def _show(scores: dict[str, dict[str, float]], as_json: bool) -> None:
    if as_json:
        print_json(scores)
        return
    for name, row in scores.items():
        out.print(f"{name:45} " + "  ".join(f"{k} {v:.3f}" if v <= 1 else f"{k} {v:.0f}" for k, v in row.items()))
