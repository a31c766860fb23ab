"""The training configuration: heads, data sources, label maps and hyperparameters, from TOML."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

#: What a retraining without a recipe of its own goes by.
RETRAIN_RECIPE = Path(__file__).parent / "configs" / "retrain.toml"


class TrainingConfigError(ValueError):
    """The configuration cannot be used; the message names the key and the remedy."""


class TrainingDataError(TrainingConfigError):
    """A file of rows cannot be used; the message names file and line, or what the rows lack."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Target(_Strict):
    """How a source's field becomes classes of a head.

    `map` names an entry of `maps`; a raw label may stand for a set of classes, the loss then rewards any of
    them. Without `map`, the raw label is the class. `constant` labels every row of the source alike; `words`
    names an entry of `words`, which labels by the words of the text (`weak.py`).
    `balance` in [0, 1] weighs each class by (1 / frequency) ** balance, mean 1.
    """

    field: str = "label"
    map: str | None = None
    constant: list[str] | None = None
    words: str | None = None
    balance: float = Field(default=0.0, ge=0, le=1)


class Source(_Strict):
    """One file of rows (`.jsonl` or `.jsonl.gz`)."""

    file: str
    heads: dict[str, Target] = {}
    limit: int | None = Field(default=None, gt=0)
    repeat: int = Field(default=1, ge=1)
    held_out_fifth: bool = False


class Hyperparameters(_Strict):
    """How to train; lengths in tokens, rates per step. The modules named hold the methods and their sources.

    - what learns (`methods.py`): `method` full, lora, frozen (heads only) or gradual (layers from the top down)
    - at which rate: `encoder_rate`, `fresh_rate` (heads, adapters), `embedding_rate` (none: the encoder's; a new
      `[vocabulary]` wants more, but a trained one then learns its training rows by heart)
    - how (`loop.py`): `optimizer`, `decay` after `warmup` (share of the steps), `accumulation` of batches per step,
      `early_stopping`: evaluations without a better validation macro F1 (0: off), one every `evaluate_every` epochs
    - `loss` (`losses.py`) with `label_smoothing`; focal for imbalance, gce for noisy labels
    - `trim` (`losses.py`): about the share of labels held to be wrong; it is reached at the end of the first epoch
    - `resample` in [0, 1] (`sampling.py`) draws rare classes more often; 1 makes all classes equal
    - `base_share` in [0, 1) of the base's weights in the result: forgets less, on a straight line between the two
      (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models")
    - `runs` from the same start, with `seed` and the numbers after it, and the mean of their weights in the end: what
      serves costs no more (Wortsman et al. 2022, "Model soups")
    - `teacher_share` of the loss from soft labels at `teacher_temperature`, where there are teachers
      (`distillation.py`); the rest from the rows' own labels
    - `keep_heads` (`keeping.py`): weight of the base's own labels for the heads that no row has a label for. With
      rehearsal rows, a retraining learns soft labels only, so that nothing that is said here of hard ones counts
      (`loss`, `label_smoothing`, `trim`, `resample`, `teacher_share`); with 0 it learns hard labels of all rows
    - `disturbed` (`robustness.py`): share of the rows that also come with typing errors, look-alike letters or a sign
    - augmentation (`augmentation.py`): shares of tokens dropped or replaced by neighbours, of rows with two spans
      swapped; `mixup` alpha on the pooled states; `adversarial`: norm of the FGM step (`adversarial.py`)
    """

    max_tokens: int = Field(default=96, ge=8, le=512)
    batch_tokens: int = Field(default=3072, ge=64)
    epochs: float = Field(default=2.0, gt=0)
    method: Literal["full", "lora", "frozen", "gradual"] = "full"
    lora_rank: int = Field(default=16, ge=1, le=256)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: float = Field(default=0.9, ge=0, lt=1)
    encoder_rate: float = Field(default=2e-4, gt=0)
    fresh_rate: float = Field(default=1e-3, gt=0)
    embedding_rate: float | None = Field(default=None, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup: float = Field(default=0.05, ge=0, lt=1)
    decay: Literal["cosine", "linear", "constant"] = "cosine"
    accumulation: int = Field(default=1, ge=1)
    early_stopping: int = Field(default=0, ge=0)
    evaluate_every: float = Field(default=1.0, gt=0)
    loss: Literal["cross_entropy", "focal", "gce"] = "cross_entropy"
    label_smoothing: float = Field(default=0.05, ge=0, lt=1)
    trim: float = Field(default=0.0, ge=0, lt=1)
    resample: float = Field(default=0.0, ge=0, le=1)
    base_share: float = Field(default=0.0, ge=0, lt=1)
    runs: int = Field(default=1, ge=1, le=16)
    keep_heads: float = Field(default=0.3, ge=0, le=1)
    teacher_share: float = Field(default=0.7, ge=0, le=1)
    teacher_temperature: float = Field(default=2.0, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    adversarial: float = Field(default=0.0, ge=0)
    disturbed: float = Field(default=0.0, ge=0, le=1)
    token_dropout: float = Field(default=0.0, ge=0, lt=1)
    neighbours: float = Field(default=0.0, ge=0, lt=1)
    span_swap: float = Field(default=0.0, ge=0, le=1)
    mixup: float = Field(default=0.0, ge=0)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    track: list[Literal["tensorboard", "wandb", "mlflow"]] = ["tensorboard"]
    seed: int = 17


class VocabularyConfig(_Strict):
    """Sizes of the bilingual vocabulary."""

    latin_pieces: int = 14_000
    han_words: int = 12_000
    han_characters: int = 5_500
    others: int = 700


class ShrinkConfig(_Strict):
    """What to keep of a large base (`shrink.py`): layers by number from 0 (none: all), and so many pieces.

    Of a bundle as the base, only the layers: its pieces stay.
    """

    layers: list[int] = []
    pieces: int = Field(default=30_000, ge=1000)


class TrainingConfig(_Strict):
    """A whole recipe; see `training/configs/starter.toml`.

    `extends` names a recipe in the same folder: tables of this one stand in their place, but `train` key by key.
    `vocabulary` makes one from the data (needs a Hugging Face base); without it, the base's own is kept, or with
    `shrink` a part of it.
    Without `sources` the rows come from `--data`; without `heads` they are those of the data. `source_cap` is the
    largest share of the rows that one source may have.
    """

    name: str = Field(default="model", pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    heads: dict[str, list[str]] = {}
    maps: dict[str, dict[str, list[str]]] = {}
    words: dict[str, dict[str, list[str]]] = {}
    sources: list[Source] = []
    source_cap: float = Field(default=1.0, gt=0, le=1)
    unlabelled: list[str] = []
    evaluation: list[Source] = []
    calibration: list[Source] = []
    train: Hyperparameters = Hyperparameters()
    vocabulary: VocabularyConfig | None = None
    shrink: ShrinkConfig | None = None

    @model_validator(mode="after")
    def _targets_exist(self) -> Self:
        for head, labels in self.heads.items():
            if len(set(labels)) != len(labels) or len(labels) < 2:
                raise ValueError(f"heads.{head}: it needs at least two labels, each once")
        for source in [*self.sources, *self.evaluation, *self.calibration]:
            for head, target in source.heads.items():
                if head not in self.heads:
                    raise ValueError(f"source {source.file}: head {head!r} is not in [heads]")
                if target.map is not None and target.map not in self.maps:
                    raise ValueError(f"source {source.file}: map {target.map!r} is not in [maps]")
                if target.words is not None and target.words not in self.words:
                    raise ValueError(f"source {source.file}: words {target.words!r} is not in [words]")
        for name, entries in self.maps.items():
            for raw, classes in entries.items():
                if not any(set(classes) <= set(labels) for labels in self.heads.values()):
                    raise ValueError(f"maps.{name}.{raw}: {classes} are not classes of one head")
        return self

    @model_validator(mode="after")
    def _words_label(self) -> Self:
        for name, listed in self.words.items():
            if not any(set(listed) <= set(labels) for labels in self.heads.values()):
                raise ValueError(f"words.{name}: {list(listed)} are not classes of one head")
            for label, words in listed.items():
                if not words:
                    raise ValueError(f"words.{name}.{label}: no words; leave the class out or name some")
        return self


def load_config(path: Path) -> TrainingConfig:
    """Reads and validates a recipe; raises `TrainingConfigError`."""
    try:
        return TrainingConfig.model_validate(_extended(path))
    except (OSError, ValueError) as error:
        raise TrainingConfigError(f"{path}: {error}") from error


def _extended(path: Path) -> dict[str, Any]:
    own = tomllib.loads(path.read_text("utf-8"))
    if "extends" not in own:
        return own
    name = own.pop("extends")
    if not isinstance(name, str) or Path(name).name != name or name == path.name:
        raise TrainingConfigError(f"extends: {name!r} must be the name of another file in the same folder")
    base = tomllib.loads((path.parent / name).read_text("utf-8"))
    if "extends" in base:
        raise TrainingConfigError(f"extends: {name} extends another recipe itself; extend that one")
    return {**base, **own, "train": {**base.get("train", {}), **own.get("train", {})}}
