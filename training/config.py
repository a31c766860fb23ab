"""The training configuration: heads, data sources, label maps and hyperparameters, from TOML."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class TrainingConfigError(ValueError):
    """The configuration cannot be used; the message names the key and the remedy."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Target(_Strict):
    """How a source's field becomes classes of a head.

    `map` names an entry of `maps`; a raw label may stand for a set of classes, the loss then rewards any of
    them. Without `map`, the raw label is the class. `constant` labels every row of the source alike.
    `balance` in [0, 1] weighs each class by (1 / frequency) ** balance, mean 1.
    """

    field: str = "label"
    map: str | None = None
    constant: list[str] | None = None
    balance: float = Field(0.0, ge=0, le=1)


class Source(_Strict):
    """One file of rows (`.jsonl` or `.jsonl.gz`)."""

    file: str
    heads: dict[str, Target] = {}
    limit: int | None = Field(None, gt=0)
    repeat: int = Field(1, ge=1)
    held_out_fifth: bool = False


class Hyperparameters(_Strict):
    """Lengths in tokens, rates per step, time in minutes."""

    max_tokens: int = Field(96, ge=8, le=512)
    batch_tokens: int = Field(3072, ge=64)
    epochs: float = Field(2.0, gt=0)
    encoder_rate: float = 2e-4
    fresh_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = Field(0.05, ge=0, lt=1)
    label_smoothing: float = Field(0.05, ge=0, lt=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    seed: int = 17


class VocabularyConfig(_Strict):
    """Sizes of the bilingual vocabulary."""

    latin_pieces: int = 14_000
    han_words: int = 12_000
    han_characters: int = 5_500
    others: int = 700


class TrainingConfig(_Strict):
    """A whole recipe; see `training/configs/starter.toml`."""

    name: str
    heads: dict[str, list[str]]
    maps: dict[str, dict[str, list[str]]] = {}
    sources: list[Source]
    unlabelled: list[str] = []
    evaluation: list[Source] = []
    calibration: list[Source] = []
    train: Hyperparameters = Hyperparameters()
    vocabulary: VocabularyConfig = VocabularyConfig()

    @model_validator(mode="after")
    def _targets_exist(self) -> Self:
        for source in [*self.sources, *self.evaluation, *self.calibration]:
            for head, target in source.heads.items():
                if head not in self.heads:
                    raise ValueError(f"source {source.file}: head {head!r} is not in [heads]")
                if target.map is not None and target.map not in self.maps:
                    raise ValueError(f"source {source.file}: map {target.map!r} is not in [maps]")
        for name, entries in self.maps.items():
            for raw, classes in entries.items():
                if not any(set(classes) <= set(labels) for labels in self.heads.values()):
                    raise ValueError(f"maps.{name}.{raw}: {classes} are not classes of one head")
        return self


def load_config(path: Path) -> TrainingConfig:
    """Reads and validates a recipe; raises `TrainingConfigError`."""
    try:
        return TrainingConfig.model_validate(tomllib.loads(path.read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise TrainingConfigError(f"{path}: {error}") from error
