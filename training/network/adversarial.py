"""The fast gradient method on the word embedding (Miyato, Dai and Goodfellow 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def perturbed(embedding: nn.Embedding, norm: float) -> Iterator[bool]:
    """Moves the embedding by `norm` along its gradient while the context lasts; False where it has no gradient."""
    gradient = embedding.weight.grad
    if gradient is None:
        yield False
        return
    length = gradient.norm()
    if not torch.isfinite(length) or length == 0:
        yield False
        return
    step = norm * gradient / length
    with torch.no_grad():
        embedding.weight.add_(step)
    try:
        yield True
    finally:
        with torch.no_grad():
            embedding.weight.sub_(step)
