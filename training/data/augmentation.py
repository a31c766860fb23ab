"""Augmentation of token ids, the same for Chinese and English; the caller passes the random generator."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor


class Augmenter:
    """Drops, replaces and swaps tokens of a row; keeps the first and the last (special) token."""

    def __init__(self, token_dropout: float, neighbours: float, span_swap: float, near: Sequence[int] = ()) -> None:
        """`near[i]` is the token whose embedding is nearest to that of `i`; required where `neighbours` > 0."""
        self._drop, self._replace, self._swap, self._near = token_dropout, neighbours, span_swap, near

    def __call__(self, ids: Sequence[int], rng: random.Random) -> list[int]:
        inner = list(ids[1:-1])
        if self._swap and len(inner) >= 4 and rng.random() < self._swap:
            inner = swapped_spans(inner, rng)
        if self._replace:
            inner = [self._near[i] if rng.random() < self._replace else i for i in inner]
        if self._drop:
            inner = [i for i in inner if rng.random() >= self._drop] or inner[:1]
        return [ids[0], *inner, ids[-1]] if len(ids) > 1 else list(ids)


def swapped_spans(ids: Sequence[int], rng: random.Random) -> list[int]:
    """Swaps two adjacent spans: the words stay, their order changes (cf. EDA, Wei and Zou 2019)."""
    a, b, c = sorted(rng.sample(range(len(ids) + 1), 3))
    return [*ids[:a], *ids[b:c], *ids[a:b], *ids[c:]]


def nearest_tokens(rows: Tensor, batch: int = 512) -> list[int]:
    """For each embedding row (float32[n, width]) the index of the one nearest by cosine, other than itself."""
    unit = torch.nn.functional.normalize(rows.detach().float(), dim=1)
    nearest: list[int] = []
    for start in range(0, len(unit), batch):
        likeness = unit[start : start + batch] @ unit.T
        likeness[torch.arange(len(likeness)), torch.arange(start, start + len(likeness))] = -1.0
        nearest += likeness.argmax(1).tolist()
    return nearest


def mixed(pooled: Tensor, alpha: float, rng: random.Random) -> tuple[Tensor, list[int], float]:
    """Pooled states mixed with those of a permutation: (states, permutation, weight of the row itself).

    Mixup on hidden states (Zhang et al. 2018; Chen et al. 2020): the loss is mixed with the same weight.
    """
    weight = max(w := rng.betavariate(alpha, alpha), 1 - w)
    order = rng.sample(range(len(pooled)), len(pooled))
    return weight * pooled + (1 - weight) * pooled[order], order, weight
