"""What a training run works on, whatever it comes from: a recipe over research files, or labelled files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.config import TrainingConfig, TrainingConfigError
from training.data.dataset import read_dataset
from training.data.examples import Example, load_source, load_training


@dataclass(frozen=True)
class Request:
    """What the command line says.

    `data` are labelled files, `data_dir` the folder of a recipe's files, `teachers` bundles with the same heads;
    `for_gpu`: the bundle also gets what a GPU runs; `seed` in place of the recipe's.
    """

    out: Path
    base: str
    version: str
    config: Path | None = None
    data: tuple[Path, ...] = ()
    data_dir: Path | None = None
    head: str = "label"
    name: str | None = None
    teachers: tuple[Path, ...] = ()
    for_gpu: bool = False
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """`validation` stops early and calibrates; `evaluation` maps a set's name to its rows.

    `every_class`: the evaluation compares among all classes, not among those of each set.
    """

    heads: dict[str, list[str]]
    train: list[Example]
    validation: list[Example]
    evaluation: dict[str, list[Example]]
    every_class: bool = False
    report: dict[str, Any] = field(default_factory=dict)
    lines: tuple[str, ...] = ()


def job_of_recipe(config: TrainingConfig, data: Path | None) -> Job:
    """Rows of `sources`, `calibration` and `evaluation`, from the folder `data`."""
    if data is None:
        raise TrainingConfigError(f"the recipe {config.name!r} names files: say their folder with --data-dir")
    if not config.heads:
        raise TrainingConfigError("a recipe with [[sources]] needs [heads]")
    validation = [e for s in config.calibration for e in load_source(config, s, data, evaluation=True)]
    return Job(config.heads, load_training(config, data), validation, evaluation_sets(config, data))


def evaluation_sets(config: TrainingConfig, data: Path) -> dict[str, list[Example]]:
    """The recipe's evaluation files, by name without the ending."""
    return {
        source.file.removesuffix(".gz").removesuffix(".jsonl"): load_source(config, source, data, evaluation=True)
        for source in config.evaluation
    }


def job_of_files(config: TrainingConfig, files: Sequence[Path], head: str, base_heads: dict[str, list[str]]) -> Job:
    """Labelled files, split by content; the scheme is the configuration's, else the base bundle's, else the files'.

    The base's scheme is taken only where it covers every head of the files.
    """
    found = read_dataset(
        files,
        heads=config.heads or None,
        base_heads=base_heads,
        head=head,
        source_cap=config.source_cap,
        seed=config.train.seed,
    )
    return Job(
        found.heads,
        found.train,
        found.validation,
        {"test": found.test},
        True,
        found.report.to_json(),
        tuple(found.report.lines()),
    )
