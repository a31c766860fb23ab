"""Heads without labels keep what they know: the base's own labels stand in for them (Li and Hoiem 2017).

Training one head moves the encoder under the others. Where the base has a head that a row says nothing about, its
answer becomes a target, weighed by its confidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from models.bundle import read_manifest
from training.config import Hyperparameters
from training.data import Example
from training.network import Classifier
from training.tensors import predict


def keep_other_heads(
    model: Classifier, tokenizer: Tokenizer, rows: Sequence[Example], base: str, settings: Hyperparameters
) -> list[Example]:
    """The rows with the base's labels for heads that no row has a label for; as they are where `base` is no bundle."""
    labelled = {head for row in rows for head in row.targets}
    if not settings.keep_heads or not (Path(base) / "manifest.json").exists():
        return list(rows)
    known = {h.name for h in read_manifest(Path(base)).heads}
    silent = [head for head in model.widths if head not in labelled and head in known]
    if not silent:
        return list(rows)
    said = predict(model, tokenizer, [row.text for row in rows], settings.max_tokens)
    kept = []
    for i, row in enumerate(rows):
        targets, weights = dict(row.targets), dict(row.weights)
        for head in silent:
            targets[head] = (int(said[head][i].argmax()),)
            weights[head] = settings.keep_heads * float(said[head][i].max())
        kept.append(Example(row.text, row.source, targets, weights))
    return kept
