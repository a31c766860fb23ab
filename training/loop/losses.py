"""Losses over sets of allowed classes, masked where a row has no label for a head."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from training.data.tensors import MentionBatch

LossName = Literal["cross_entropy", "focal", "gce"]
FOCAL_GAMMA = 2.0
GCE_Q = 0.7


def masked_set_loss(
    logits: dict[str, Tensor],
    allowed: dict[str, Tensor],
    weights: dict[str, Tensor],
    smoothing: float,
    loss: LossName = "cross_entropy",
    trim: float = 0.0,
) -> Tensor:
    """Mean over the labelled (row, head) pairs of a loss of p = the sum of the probabilities of the allowed classes.

    `logits[h]` is float32[batch, classes], `allowed[h]` bool of the same shape (a row without a label for h
    is all false), `weights[h]` float32[batch]. `smoothing` in [0, 1) mixes in the uniform cross-entropy
    (Szegedy et al. 2016). Returns 0 where nothing is labelled.

    - cross_entropy: -log p
    - focal: -(1 - p)^2 log p, less weight on what is easy (Lin et al. 2017)
    - gce: (1 - p^0.7) / 0.7, bounded, so that a wrong label cannot pull without end (Zhang and Sabuncu 2018)

    `trim` in [0, 1): of each head, the share of its labelled rows that have the greatest loss and are left out: wrong
    labels are learned last (Shen and Sanghavi 2019, "Learning with bad training data via iterative trimmed loss
    minimization").
    """
    total = next(iter(logits.values())).sum() * 0.0
    pairs = torch.zeros((), device=total.device)
    for head, scores in logits.items():
        labelled = allowed[head].any(1)
        log_probabilities = scores.log_softmax(1)
        # Rows without a label are computed along, every class right, and weigh nothing: to leave them out, a GPU would
        # have to tell the host how many they are, and wait.
        right = allowed[head] | ~labelled[:, None]
        hit = log_probabilities.masked_fill(~right, -torch.inf).logsumexp(1)
        each = -(1 - smoothing) * _of(hit, loss) - smoothing * log_probabilities.mean(1)
        counted = _least(each, labelled, trim) if trim else labelled
        total = total + (each * weights[head] * counted).sum()
        pairs = pairs + counted.sum()
    return total / pairs.clamp(min=1)


def distillation_loss(logits: dict[str, Tensor], soft: dict[str, Tensor], temperature: float) -> Tensor:
    """Mean over rows and heads of KL(teacher || student), both softened by `temperature` >= 1, times its square.

    `soft[h]` is float32[batch, classes] of probabilities; all 0 where no teacher has the head, which then does not
    count. The square keeps the gradient's size at any temperature (Hinton et al. 2015).
    """
    total, counted = next(iter(logits.values())).sum() * 0.0, torch.zeros((), device=next(iter(logits.values())).device)
    for head, scores in logits.items():
        taught = soft[head].sum(1) > 0
        teacher = (soft[head].clamp(min=1e-7).log() / temperature).log_softmax(1)
        student = (scores / temperature).log_softmax(1)
        total = total + ((teacher.exp() * (teacher - student)).sum(1) * taught).sum()
        counted = counted + taught.sum()
    return total / counted.clamp(min=1) * temperature**2


def mention_loss(logits: Tensor, mentions: MentionBatch, smoothing: float, loss: LossName = "cross_entropy") -> Tensor:
    """Weighted mean over the mentions of a batch of the loss of `masked_set_loss`, or of the cross-entropy with soft
    labels. `logits` is float32[mentions, 3]; 0 where no mention has a weight.
    """
    log_probabilities = logits.log_softmax(1)
    hit = log_probabilities.masked_fill(mentions.truth == 0, -torch.inf).logsumexp(1)
    hard = -(1 - smoothing) * _of(hit, loss) - smoothing * log_probabilities.mean(1)
    each = torch.where(mentions.soft, -(mentions.truth * log_probabilities).sum(1), hard)
    return (each * mentions.weight).sum() / mentions.weight.sum().clamp(min=1)


def _least(each: Tensor, labelled: Tensor, trim: float) -> Tensor:
    """bool[batch]: the labelled rows but for the share `trim` of the greatest losses."""
    greatest_first = each.detach().masked_fill(~labelled, -torch.inf).argsort(descending=True).argsort()
    return labelled & (greatest_first >= (trim * labelled.sum()).floor())


def _of(log_p: Tensor, loss: LossName) -> Tensor:
    """The negated loss, so that cross-entropy is log p itself."""
    if loss == "focal":
        return (1 - log_p.exp()) ** FOCAL_GAMMA * log_p
    if loss == "gce":
        return ((GCE_Q * log_p).exp() - 1) / GCE_Q
    return log_p
