"""Learning without forgetting: the base's own labels become targets where people gave none (Li and Hoiem 2017).

Training one head moves the encoder under the other heads. For a head that the base has and that no row labels, the
base's label becomes a target, weighted by its confidence. With rehearsal rows, every row gets soft labels only: the
base's probabilities, restricted to the classes that people allow. A hard label of a text that the base is unsure about
would teach it to be sure, and with one kind of label all rows weigh the same.

The head `toward` is kept in the same way: on rows without a labelled mention, the base's probabilities at one random
place of the text become the target at that place.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from models.bundle import read_manifest
from models.files.annotation_files import REHEARSAL
from models.heads import TOWARD
from training.config import Hyperparameters
from training.data.examples import Example
from training.data.mentions import any_place
from training.network.encoder import Classifier
from training.network.predict import predict, predict_toward

#: Probability of a class that people allow, in case the base gives all of them zero.
_LEAST = 1e-6


def with_base_labels(
    model: Classifier, tokenizer: Tokenizer, rows: Sequence[Example], base: str, settings: Hyperparameters
) -> list[Example]:
    """The rows with the base's labels for the heads that no row labels; unchanged where `base` is not a bundle."""
    if not settings.lwf_weight or not (Path(base) / "manifest.json").exists():
        return list(rows)
    known = {h.name for h in read_manifest(Path(base)).heads}
    found = _with_text_labels(model, tokenizer, rows, known, settings)
    return _with_places(model, tokenizer, found, settings) if TOWARD in known and model.toward is not None else found


def _with_text_labels(
    model: Classifier, tokenizer: Tokenizer, rows: Sequence[Example], known: set[str], settings: Hyperparameters
) -> list[Example]:
    labelled = {head for row in rows for head in row.targets}
    if any(row.source == REHEARSAL for row in rows) and known >= set(model.widths):
        return _with_soft_labels(model, tokenizer, rows, settings)
    unlabelled = [head for head in model.widths if head not in labelled and head in known]
    if not unlabelled:
        return list(rows)
    predicted = predict(model, tokenizer, [row.text for row in rows], settings.max_tokens)
    found = []
    for i, row in enumerate(rows):
        targets, weights = dict(row.targets), dict(row.weights)
        for head in unlabelled:
            targets[head] = (int(predicted[head][i].argmax()),)
            weights[head] = settings.lwf_weight * float(predicted[head][i].max())
        found.append(replace(row, targets=targets, weights=weights))
    return found


def _with_soft_labels(
    model: Classifier, tokenizer: Tokenizer, rows: Sequence[Example], settings: Hyperparameters
) -> list[Example]:
    predicted = predict(model, tokenizer, [row.text for row in rows], settings.max_tokens)
    soft = {head: p.numpy().copy() for head, p in predicted.items()}
    found = []
    for i, row in enumerate(rows):
        own = {} if row.source == REHEARSAL else row.targets
        for head, classes in own.items():
            allowed = np.zeros_like(soft[head][i])
            allowed[list(classes)] = np.maximum(soft[head][i][list(classes)], _LEAST)
            soft[head][i] = allowed / allowed.sum()
        line = np.concatenate([soft[head][i] for head in model.widths]).astype(np.float16)
        found.append(replace(row, targets={}, soft=line))
    return found


def _with_places(
    model: Classifier, tokenizer: Tokenizer, rows: Sequence[Example], settings: Hyperparameters
) -> list[Example]:
    """The rows, those without a mention with one random place and the base's probabilities of `toward` there."""
    rng = random.Random(settings.seed)  # noqa: S311
    bare = [i for i, row in enumerate(rows) if not row.mentions and row.text.strip()]
    marked = [replace(rows[i], mentions=(any_place(rows[i].text, rng),)) for i in bare]
    found, places = list(rows), iter(bare)
    judged, soft = predict_toward(model, tokenizer, marked, settings.max_tokens)
    at = dict(zip((row.text for row in marked), places, strict=True))
    for row, line in zip(judged, soft.tolist(), strict=True):
        mention = replace(row.mentions[0], soft=tuple(line), weight=settings.lwf_weight)
        found[at[row.text]] = replace(found[at[row.text]], mentions=(mention,))
    return found
