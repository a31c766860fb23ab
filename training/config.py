"""The training configuration: heads, data sources, label maps and hyperparameters, from TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.files.targets import TargetColumns
from models.heads import TOWARD, TOWARD_LABELS
from training.renamed import with_new_names

#: The recipe of a retraining for which `training.recipe` names none.
RETRAIN_RECIPE = Path(__file__).parent / "configs" / "retrain.toml"


class TrainingConfigError(ValueError):
    """The configuration is invalid; the message names the key and the remedy."""


class TrainingDataError(TrainingConfigError):
    """A file of rows is invalid; the message names the file and the line, or what the rows lack."""


def with_toward_last(heads: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The heads in the order of a bundle's manifest: `toward`, whose classes are fixed, comes last."""
    others = {head: list(labels) for head, labels in heads.items() if head != TOWARD}
    return {**others, TOWARD: list(TOWARD_LABELS)} if TOWARD in heads else others


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Target(_Strict):
    """How a source's field becomes classes of a head.

    `map` names an entry of `maps`; a raw label may map to a set of classes, and the loss then rewards any of them.
    Without `map`, the raw label is the class. `constant` gives every row of the source the same label. `words` names
    an entry of `words`, which labels a row by the words of its text (`data/weak_labels.py`).
    `balance` in [0, 1] weights each class by (1 / frequency) ** balance, normalised to a mean of 1.
    """

    field: str = "label"
    map: str | None = None
    constant: list[str] | None = None
    words: str | None = None
    balance: float = Field(default=0.0, ge=0, le=1)


class MentionColumns(_Strict):
    """Where the rows of a source for the head `toward` name the target and say where it stands.

    `target` is the column of the target's words; `start` and `end` are those of its characters in the text (half
    open). Rows without `start` and `end` are searched for the words, ignoring case; where the text lacks them,
    `absent` stops the training with an error or skips the row. With `names`, the targets are names that the head must
    not learn: see `train.renamed_share`.
    """

    target: str = "target"
    start: str = "from"
    end: str = "to"
    absent: Literal["error", "skip"] = "error"
    names: bool = False

    @property
    def columns(self) -> TargetColumns:
        return TargetColumns(self.target, self.start, self.end)


class Source(_Strict):
    """One file of rows (`.jsonl` or `.jsonl.gz`), in the folder of the data or, `written`, in `training/examples/`.

    `mention` describes the rows' targets where `heads` contains `toward`. The rows of a source without `heads` have no
    label: they learn from a teacher's soft labels.
    """

    file: str
    heads: dict[str, Target] = {}
    mention: MentionColumns = MentionColumns()
    limit: int | None = Field(default=None, gt=0)
    repeat: int = Field(default=1, ge=1)
    held_out_fifth: bool = False
    written: bool = False


class Hyperparameters(_Strict):
    """How to train. Lengths are in tokens; the modules in parentheses hold each method and its source.

    - `method` (`network/methods.py`): which weights learn: full, lora, frozen (heads only), gradual (top layers first)
    - `encoder_lr`, `head_lr` (heads and adapters), `embedding_lr` (default: `encoder_lr`): learning rates. A new
      `[vocabulary]` needs a higher `embedding_lr`; a pretrained embedding then memorises its training rows. 0 leaves
      the embedding as it is, which costs less and forgets less
    - `optimizer`, `lr_schedule` after `warmup` (share of the steps), `gradient_accumulation_steps` batches per step
      (`loop/optimizers.py`)
    - `early_stopping`: evaluations without a better validation macro F1 before training stops (0: never), with one
      evaluation every `evaluate_every` epochs
    - `loss` (`loop/losses.py`) with `label_smoothing`; focal for class imbalance, gce for noisy labels
    - `small_loss_trim` (`loop/losses.py`): share of the rows with the greatest loss that each step ignores, about the
      share of wrong labels; it grows from 0 to this value over the first epoch
    - `resample` in [0, 1] (`data/sampling.py`) draws rare classes more often; 1 makes all classes equally frequent
    - `wise_ft_alpha` in (0, 1]: the result is (1 - alpha) x the base's weights + alpha x the trained weights; below 1
      it forgets less (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models")
    - `soup_size`: number of trainings from the same base with seeds `seed`, `seed` + 1, ..., whose weights are
      averaged; serving costs the same (Wortsman et al. 2022, "Model soups")
    - `teacher_share`: share of the loss that comes from the teachers' soft labels at `teacher_temperature`
      (`loop/distillation.py`); the rest comes from the rows' own labels
    - `lwf_weight` (`loop/forgetting.py`): weight of the base's own labels for heads that no row labels. A retraining
      with rehearsal rows learns from soft labels only, so that the settings for hard labels (`loss`,
      `label_smoothing`, `small_loss_trim`, `resample`, `teacher_share`) have no effect; 0 trains on hard labels
    - `toward_weight`: weight of the loss at the mentions (head `toward`) beside the loss of the other heads
    - `renamed_share` (`data/renaming.py`): share of the rows with mentions of names whose names are replaced by others
      at each step, so that the head `toward` reads what is said and not about whom
    - `perturbed_share` (`data/perturbations.py`): share of the rows that are added again with typing errors,
      look-alike letters or a pictograph
    - `token_dropout`, `neighbours`, `span_swap` (`data/augmentation.py`): share of tokens dropped, share of tokens
      replaced by their nearest neighbours, share of rows with two spans swapped
    - `mixup`: alpha of mixup on the pooled states; `adversarial`: norm of the FGM step (`network/adversarial.py`)
    """

    max_tokens: int = Field(default=96, ge=8, le=512)
    batch_tokens: int = Field(default=3072, ge=64)
    epochs: float = Field(default=2.0, gt=0)
    method: Literal["full", "lora", "frozen", "gradual"] = "full"
    lora_rank: int = Field(default=16, ge=1, le=256)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: float = Field(default=0.9, ge=0, lt=1)
    encoder_lr: float = Field(default=2e-4, gt=0)
    head_lr: float = Field(default=1e-3, gt=0)
    embedding_lr: float | None = Field(default=None, ge=0)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup: float = Field(default=0.05, ge=0, lt=1)
    lr_schedule: Literal["cosine", "linear", "constant"] = "cosine"
    gradient_accumulation_steps: int = Field(default=1, ge=1)
    early_stopping: int = Field(default=0, ge=0)
    evaluate_every: float = Field(default=1.0, gt=0)
    loss: Literal["cross_entropy", "focal", "gce"] = "cross_entropy"
    label_smoothing: float = Field(default=0.05, ge=0, lt=1)
    small_loss_trim: float = Field(default=0.0, ge=0, lt=1)
    resample: float = Field(default=0.0, ge=0, le=1)
    wise_ft_alpha: float = Field(default=1.0, gt=0, le=1)
    soup_size: int = Field(default=1, ge=1, le=16)
    lwf_weight: float = Field(default=0.3, ge=0, le=1)
    teacher_share: float = Field(default=0.7, ge=0, le=1)
    teacher_temperature: float = Field(default=2.0, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    adversarial: float = Field(default=0.0, ge=0)
    toward_weight: float = Field(default=1.0, gt=0)
    renamed_share: float = Field(default=0.35, ge=0, le=1)
    perturbed_share: float = Field(default=0.0, ge=0, le=1)
    token_dropout: float = Field(default=0.0, ge=0, lt=1)
    neighbours: float = Field(default=0.0, ge=0, lt=1)
    span_swap: float = Field(default=0.0, ge=0, le=1)
    mixup: float = Field(default=0.0, ge=0)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    track: list[Literal["tensorboard", "wandb", "mlflow"]] = ["tensorboard"]
    seed: int = 17


class VocabularyConfig(_Strict):
    """Sizes of the bilingual vocabulary, in pieces."""

    latin_pieces: int = 14_000
    han_words: int = 12_000
    han_characters: int = 5_500
    others: int = 700


class PruningConfig(_Strict):
    """What to keep of a large base (`network/pruning.py`): layers, numbered from 0 (empty: all), and vocabulary pieces.

    Where the base is a bundle, only layers are pruned; it keeps its pieces.
    """

    layers: list[int] = []
    pieces: int = Field(default=30_000, ge=1000)


class TrainingConfig(_Strict):
    """A whole recipe; see `training/configs/starter.toml`.

    `extends` names a recipe in the same folder: a table of this recipe replaces the table of the same name there;
    `train` is merged key by key.
    `vocabulary` builds a new vocabulary from the data (it needs a Hugging Face base); without it, training keeps the
    base's vocabulary, or the part of it that `pruning` leaves.
    Without `sources` the rows come from `--data`; without `heads` the data defines the heads. `source_cap` is the
    largest share of the rows that may come from one source.
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
    pruning: PruningConfig | None = None

    @model_validator(mode="after")
    def _targets_exist(self) -> Self:
        for head, labels in self.heads.items():
            if len(set(labels)) != len(labels) or len(labels) < 2:
                raise ValueError(f"heads.{head}: it needs at least two labels, each once")
            if head == TOWARD and tuple(labels) != TOWARD_LABELS:
                raise ValueError(f"heads.{head}: its labels must be {list(TOWARD_LABELS)}, in this order")
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
    """Reads and validates a recipe; raises `TrainingConfigError`.

    A key under the name of the release before is accepted, and the log names its new name.
    """
    try:
        return TrainingConfig.model_validate(_extended(path))
    except (OSError, ValueError) as error:
        raise TrainingConfigError(f"{path}: {error}") from error


def _extended(path: Path) -> dict[str, object]:
    own = _tables(path)
    if "extends" not in own:
        return own
    name = own.pop("extends")
    if not isinstance(name, str) or Path(name).name != name or name == path.name:
        raise TrainingConfigError(f"extends: {name!r} must be the name of another file in the same folder")
    base = _tables(path.parent / name)
    if "extends" in base:
        raise TrainingConfigError(f"extends: {name} extends another recipe itself; extend that one")
    return {**base, **own, "train": {**_settings(base), **_settings(own)}}


def _settings(tables: Mapping[str, object]) -> dict[str, object]:
    """The table `[train]`."""
    settings = tables.get("train", {})
    if not isinstance(settings, dict):
        raise ValueError(f"train is {settings!r} but must be a table")
    return settings


def _tables(path: Path) -> dict[str, object]:
    return with_new_names(tomllib.loads(path.read_text("utf-8")), str(path))
