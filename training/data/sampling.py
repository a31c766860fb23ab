"""Resampling against class imbalance; deterministic for a seed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from training.data.examples import Example


def resampled(examples: Sequence[Example], strength: float, *, seed: int) -> list[int]:
    """Draws as many indexes as there are examples, examples of rare classes more often.

    An example weighs the largest of (1 / frequency of its class) ** `strength` over its heads; `strength` 0 gives
    every index once, 1 makes the classes of a single head equally frequent.
    """
    if strength == 0:
        return list(range(len(examples)))
    counts: dict[str, Counter[tuple[int, ...]]] = {}
    for example in examples:
        for head, classes in example.targets.items():
            counts.setdefault(head, Counter())[classes] += 1
    totals = {head: sum(c.values()) for head, c in counts.items()}
    weights = [
        max(((totals[h] / counts[h][classes]) ** strength for h, classes in example.targets.items()), default=1.0)
        for example in examples
    ]
    return random.Random(seed).choices(range(len(examples)), weights, k=len(examples))  # noqa: S311
