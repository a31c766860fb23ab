"""Recipe keys that have another name than in the release before: the old name works for one release, with a warning."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)


def _same(value: object) -> object:
    return value


def _alpha_of(base_share: object) -> object:
    """`wise_ft_alpha` weights the trained weights, `base_share` weighted the base's."""
    return 1 - base_share if isinstance(base_share, int | float) else base_share


#: Key of `[train]` in the release before -> the key now, and how the value changes.
RENAMED_TRAIN: dict[str, tuple[str, Callable[[object], object]]] = {
    "encoder_rate": ("encoder_lr", _same),
    "fresh_rate": ("head_lr", _same),
    "embedding_rate": ("embedding_lr", _same),
    "decay": ("lr_schedule", _same),
    "accumulation": ("gradient_accumulation_steps", _same),
    "base_share": ("wise_ft_alpha", _alpha_of),
    "keep_heads": ("lwf_weight", _same),
    "runs": ("soup_size", _same),
    "disturbed": ("perturbed_share", _same),
    "trim": ("small_loss_trim", _same),
}
RENAMED_TABLES = {"shrink": "pruning"}


def with_new_names(tables: Mapping[str, object], file: str) -> dict[str, object]:
    """The tables of the recipe `file` with the keys of this release.

    Raises `ValueError` where the recipe gives a key under both names.
    """
    renamed: dict[str, object] = {}
    for key, value in tables.items():
        renamed[_renamed(tables, key, RENAMED_TABLES.get(key, key), key, file)] = value
    train = renamed.get("train")
    if isinstance(train, dict):
        settings: dict[str, object] = {}
        for key, value in train.items():
            new, changed = RENAMED_TRAIN.get(key, (key, _same))
            settings[_renamed(train, key, new, f"train.{key}", file)] = changed(value)
        renamed["train"] = settings
    return renamed


def _renamed(table: Mapping[str, object], old: str, new: str, shown: str, file: str) -> str:
    if new == old:
        return old
    if new in table:
        raise ValueError(f"{shown} is the former name of {new}, which the recipe gives as well: remove {shown}")
    log.warning("%s: %s is now called %s; the next release refuses the old name", file, shown, new)
    return new
