"""What the base knows already is kept: its own labels stand in where people say nothing (Li and Hoiem 2017).

Training one head moves the encoder under the others. Where the base has a head that no row says anything about, its
answer becomes a target, weighed by its confidence. Where there are rehearsal rows, every row has soft labels only, the
base's probabilities with people's word in the place of its own: a hard label of what it is unsure of would teach it to
be sure, and one kind of label makes all rows weigh the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from models.bundle import read_manifest
from models.files.annotation_files import REHEARSAL
from training.config import Hyperparameters
from training.data.examples import Example
from training.data.tensors import predict
from training.network.encoder import Classifier

#: Of a class that people allow, in case the base calls all of them impossible.
_LEAST = 1e-6


def keep_what_is_known(
    model: Classifier, tokenizer: Tokenizer, rows: Sequence[Example], base: str, settings: Hyperparameters
) -> list[Example]:
    """The rows with what the base says of heads that people say nothing of; as they are where `base` is no bundle."""
    labelled = {head for row in rows for head in row.targets}
    if not settings.keep_heads or not (Path(base) / "manifest.json").exists():
        return list(rows)
    known = {h.name for h in read_manifest(Path(base)).heads}
    if any(row.source == REHEARSAL for row in rows) and known >= set(model.widths):
        return _rehearsed(model, tokenizer, rows, settings)
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


def _rehearsed(
    model: Classifier, tokenizer: Tokenizer, rows: Sequence[Example], settings: Hyperparameters
) -> list[Example]:
    said = predict(model, tokenizer, [row.text for row in rows], settings.max_tokens)
    soft = {head: p.numpy().copy() for head, p in said.items()}
    kept = []
    for i, row in enumerate(rows):
        own = {} if row.source == REHEARSAL else row.targets
        for head, classes in own.items():
            allowed = np.zeros_like(soft[head][i])
            allowed[list(classes)] = np.maximum(soft[head][i][list(classes)], _LEAST)
            soft[head][i] = allowed / allowed.sum()
        line = np.concatenate([soft[head][i] for head in model.widths]).astype(np.float16)
        kept.append(replace(row, targets={}, soft=line))
    return kept
