"""Grouping texts by length under a budget of padded tokens. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


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


def padded_width(width: int, step: int) -> int:
    """The next multiple of `step`: fewer shapes for a device that plans each of them anew.

    >>> padded_width(33, 32), padded_width(33, 1)
    (64, 33)
    """
    return -(-width // step) * step
