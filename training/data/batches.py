"""Token-budget batches, sorted by length within windows and shuffled between them; deterministic for a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence


def token_budget_batches(lengths: Sequence[int], budget: int, *, seed: int, window: int = 8192) -> list[list[int]]:
    """Indexes grouped so that (longest in batch) * (batch size) <= budget; each index once.

    >>> sorted(i for batch in token_budget_batches([3, 9, 4], 10, seed=0) for i in batch)
    [0, 1, 2]
    """
    rng = random.Random(seed)  # noqa: S311
    order = list(range(len(lengths)))
    rng.shuffle(order)
    batches: list[list[int]] = []
    for start in range(0, len(order), window):
        batch: list[int] = []
        for index in sorted(order[start : start + window], key=lambda i: lengths[i]):
            if batch and lengths[index] * (len(batch) + 1) > budget:
                batches.append(batch)
                batch = []
            batch.append(index)
        if batch:
            batches.append(batch)
    rng.shuffle(batches)
    return batches
