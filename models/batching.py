"""Grouping texts by length under a budget of padded tokens, and the padding. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


def by_length(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indexes, longest texts last, so that (longest in group) * (group size) <= budget.

    A text longer than the budget stands alone. Every index comes once.

    >>> list(by_length([5, 2, 2, 9], budget=8))
    [[1, 2], [0], [3]]
    """
    group: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if group and lengths[index] * (len(group) + 1) > budget:
            yield group
            group = []
        group.append(index)
    if group:
        yield group


def shared_evenly(lengths: Sequence[int], budget: int, streams: int) -> list[list[int]]:
    """`by_length`, in as many groups as `streams` can take alike: a group left over would keep one of them waiting.

    >>> [len(group) for group in shared_evenly([4] * 30, budget=40, streams=2)]
    [8, 8, 8, 6]
    """
    groups = list(by_length(lengths, budget))
    wanted = min(len(lengths), -(-len(groups) // streams) * streams)
    if len(groups) == wanted:
        return groups
    smaller = -(-sum(lengths[g[-1]] * len(g) for g in groups) // wanted)
    while (more := list(by_length(lengths, smaller))) and len(more) > wanted:
        smaller = min(budget, smaller + -(-smaller // 32))
    return more if len(more) == wanted else groups


def padded_width(width: int, step: int) -> int:
    """The next multiple of `step`: fewer shapes for a device that plans each of them anew.

    >>> padded_width(33, 32), padded_width(33, 1)
    (64, 33)
    """
    return -(-width // step) * step


def padded(rows: Sequence[Sequence[int]], width_step: int = 1) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """int64[rows, width] of token ids (0 where a row has ended) and the mask of what is real (1, else 0).

    >>> [a.tolist() for a in padded([[5, 6], [7]])]
    [[[5, 6], [7, 0]], [[1, 1], [1, 0]]]
    """
    ids = np.zeros((len(rows), padded_width(max(map(len, rows)), width_step)), np.int64)
    mask = np.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)], mask[i, : len(row)] = row, 1
    return ids, mask
