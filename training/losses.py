"""Cross-entropy over sets of allowed classes, masked where a row has no label for a head."""

from __future__ import annotations

import torch
from torch import Tensor


def masked_set_loss(
    logits: dict[str, Tensor], allowed: dict[str, Tensor], weights: dict[str, Tensor], smoothing: float
) -> Tensor:
    """Mean over the labelled (row, head) pairs of -log(sum of the probabilities of the allowed classes).

    `logits[h]` is float32[batch, classes], `allowed[h]` bool of the same shape (a row without a label for h
    is all false), `weights[h]` float32[batch]. `smoothing` in [0, 1) mixes in the uniform cross-entropy
    (Szegedy et al. 2016). Returns 0 where nothing is labelled.
    """
    total = next(iter(logits.values())).sum() * 0.0
    pairs = torch.zeros(())
    for head, scores in logits.items():
        labelled = allowed[head].any(1)
        if not bool(labelled.any()):
            continue
        log_probabilities = scores[labelled].log_softmax(1)
        hit = log_probabilities.masked_fill(~allowed[head][labelled], -torch.inf).logsumexp(1)
        loss = -(1 - smoothing) * hit - smoothing * log_probabilities.mean(1)
        total = total + (loss * weights[head][labelled]).sum()
        pairs = pairs + labelled.sum()
    return total / pairs.clamp(min=1)
