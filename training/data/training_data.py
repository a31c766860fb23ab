"""The rows of a training: from the research files of a recipe, or from labelled files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.config import TrainingConfig, TrainingConfigError, with_toward_last
from training.data.dataset import Report, read_dataset
from training.data.examples import Example, load_source, load_training


@dataclass(frozen=True, slots=True)
class TrainingData:
    """`validation` decides early stopping and calibrates; `evaluation` maps the name of a set to its rows.

    With `every_class`, the evaluation compares all classes of a head; without it, only the classes of each set.
    `report` says what the labelled files held; None for a recipe.
    """

    heads: dict[str, list[str]]
    train: list[Example]
    validation: list[Example]
    evaluation: dict[str, list[Example]]
    every_class: bool = False
    report: Report | None = None


def data_of_recipe(config: TrainingConfig, folder: Path | None) -> TrainingData:
    """The rows of `sources`, `calibration` and `evaluation`, from the files in `folder`."""
    if folder is None:
        raise TrainingConfigError(f"the recipe {config.name!r} names files: give their folder with --data-dir")
    if not config.heads:
        raise TrainingConfigError("a recipe with [[sources]] needs [heads]")
    validation = [e for s in config.calibration for e in load_source(config, s, folder, evaluation=True)]
    return TrainingData(
        with_toward_last(config.heads), load_training(config, folder), validation, evaluation_sets(config, folder)
    )


def evaluation_sets(config: TrainingConfig, folder: Path) -> dict[str, list[Example]]:
    """The rows of the recipe's evaluation files, by file name without its ending."""
    return {
        source.file.removesuffix(".gz").removesuffix(".jsonl"): load_source(config, source, folder, evaluation=True)
        for source in config.evaluation
    }


def data_of_files(
    config: TrainingConfig, files: Sequence[Path], head: str, base_heads: dict[str, list[str]]
) -> TrainingData:
    """The rows of labelled files, split by content.

    The heads are the configuration's, else those of the base bundle where they cover every head of the files, else
    those of the files.
    """
    found = read_dataset(
        files,
        heads=config.heads or None,
        base_heads=base_heads,
        head=head,
        source_cap=config.source_cap,
        seed=config.train.seed,
    )
    return TrainingData(found.heads, found.train, found.validation, {"test": found.test}, True, found.report)
