"""Texts and labels as tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from models.batching import padded
from training.data.examples import Example


def encode(tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """Token ids per text, cut to `max_tokens` with the closing special token kept."""
    tokenizer.enable_truncation(max_tokens)
    tokenizer.no_padding()
    return [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]


def pad(ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """int64[batch, longest] ids (0 is padding) and their attention mask."""
    rows, mask = padded(ids)
    return torch.from_numpy(rows), torch.from_numpy(mask)


def targets(batch: Sequence[Example], widths: Mapping[str, int]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Per head: bool[batch, classes] of allowed classes, float32[batch] of weights."""
    allowed = {h: np.zeros((len(batch), n), np.bool_) for h, n in widths.items()}
    weights = {h: np.ones(len(batch), np.float32) for h in widths}
    for i, example in enumerate(batch):
        for head, classes in example.targets.items():
            # In numpy and class by class: a torch index_put per row took fifteen times as long.
            for index in classes:
                allowed[head][i, index] = True
            weights[head][i] = example.weights.get(head, 1.0)
    return {h: torch.from_numpy(a) for h, a in allowed.items()}, {h: torch.from_numpy(w) for h, w in weights.items()}


def soft_targets(batch: Sequence[Example], widths: Mapping[str, int]) -> dict[str, Tensor]:
    """Per head float32[batch, classes] of a teacher's probabilities; empty where a row has none."""
    lines = [example.soft for example in batch if example.soft is not None]
    if len(lines) < len(batch):
        return {}
    whole = torch.from_numpy(np.stack(lines)).float()
    return dict(zip(widths, torch.split(whole, list(widths.values()), dim=1), strict=True))
