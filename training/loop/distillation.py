"""Soft labels: the probabilities that larger models, the teachers, give each row, as targets for the student.

Hinton et al. 2015, "Distilling the knowledge in a neural network". A teacher also labels heads for which a row has no
label, and rows without any label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from models.bundle import BundleError, read_manifest
from models.heads import TOWARD
from training.config import TrainingConfigError
from training.data.examples import Example
from training.devices import bf16_pays
from training.network.from_bundle import from_bundle
from training.network.predict import predict

#: float16[texts, all classes]: probabilities, one head after another.
SoftLabels = NDArray[np.float16]


def check_teachers(teachers: Sequence[Path], heads: Mapping[str, Sequence[str]]) -> None:
    """Raises `TrainingConfigError` unless every teacher is a bundle with these heads and classes, in this order.

    Of the heads, one that no teacher has learns from the labels of the rows alone, and so does `toward`.
    """
    anyone: set[str] = set()
    for folder in teachers:
        anyone |= known_heads(folder).keys()
    for folder in teachers:
        known = known_heads(folder)
        for head, labels in heads.items():
            if head in anyone and head != TOWARD and known.get(head) != list(labels):
                has = ", ".join(known.get(head, ())) or "no classes: it lacks the head"
                raise TrainingConfigError(
                    f"--teacher {folder}: head {head!r} has {has}; a teacher needs the classes {', '.join(labels)}, in "
                    "this order. Train it with the same [heads]"
                )


def known_heads(teacher: Path) -> dict[str, list[str]]:
    """The heads of a teacher's manifest; raises `TrainingConfigError` where it is not a bundle."""
    try:
        return {h.name: list(h.labels) for h in read_manifest(teacher).heads}
    except BundleError as error:
        raise TrainingConfigError(f"--teacher {teacher}: {error}") from None


def soft_labels(
    teachers: Sequence[Path],
    heads: Mapping[str, Sequence[str]],
    texts: Sequence[str],
    max_tokens: int,
    device: torch.device,
) -> SoftLabels:
    """The mean of the teachers' probabilities per text; 0 for the classes of a head that they lack."""
    widths = {head: len(labels) for head, labels in heads.items() if head != TOWARD}
    total = np.zeros((len(texts), sum(widths.values())), np.float32)
    for folder in teachers:
        known = {h: labels for h, labels in known_heads(folder).items() if h in widths}
        model, tokenizer_json = from_bundle(folder, known, 0.0)
        tokenizer = Tokenizer.from_str(tokenizer_json)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16_pays(device)):
            predicted = predict(model.to(device), tokenizer, texts, max_tokens)
        lines = [predicted[h] if h in known else torch.zeros(len(texts), n) for h, n in widths.items()]
        total += torch.cat(lines, dim=1).numpy() / len(teachers)
    return total.astype(np.float16)


def with_soft_labels(rows: Sequence[Example], soft: SoftLabels) -> list[Example]:
    """The rows, each with its row of `soft`."""
    return [replace(row, soft=line) for row, line in zip(rows, soft, strict=True)]
