"""`opinionwatch evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import AsJson, settings_of
from pipeline.cli.presenter import Presenter
from pipeline.cli.training.extra import extra_train, refusing
from pipeline.cli.training.options import Data, DataDir, HeadName, Recipe
from pipeline.cli.training.scores import score_lines
from pipeline.domain.errors import EXIT_USAGE, Fatal


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="The folder of a bundle.")],
    data: Data = None,
    config: Recipe = None,
    data_dir: DataDir = None,
    head: HeadName = "label",
    as_json: AsJson = False,
) -> None:
    """Measure accuracy, precision, recall and F1 of a bundle on labelled files, per class, in slices, with intervals.

    Example: opinionwatch evaluate models/starter --data labelled.jsonl --head sentiment --json
    """
    if not data and config is None:
        raise Fatal("evaluate has no labelled file", "give --data FILE, or --config and --data-dir", EXIT_USAGE)
    from models.bundle import read_bundle

    read = refusing(lambda: read_bundle(bundle, settings_of(None).model.trusted_keys))
    with extra_train():
        from training.train import evaluate as scores_of

    found = refusing(lambda: scores_of(read, data or (), head, config, data_dir))
    Presenter(as_json).show(found, score_lines(found, {}))
