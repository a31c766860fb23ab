"""Groups texts by length under a budget of padded tokens, and pads them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Shapes(NamedTuple):
    """The batch shapes that a runtime gets: few different ones for a runtime that plans every shape separately.

    `width(n) >= n` is the padded width of `n` tokens. Of `n` texts, `1 <= rows(n) <= n` form a batch and the rest form
    the next. `mentions(n) >= n` is the number of mentions that a batch with `n` of them is padded to.
    """

    width: Callable[[int], int]
    rows: Callable[[int], int]
    mentions: Callable[[int], int]


def vector_width(width: int) -> int:
    """Pads to 4, 8 or 16 tokens within a vector of 16, and to whole vectors above 64 tokens.

    Attention over a partly filled last vector costs more, token by token, than the padding that fills the vector.

    >>> [vector_width(n) for n in (3, 9, 17, 25, 64, 65, 130)]
    [4, 16, 20, 32, 64, 80, 160]
    """
    if width > 128:
        return -(-width // 32) * 32
    whole, rest = width // 16 * 16, width % 16
    if width > 64:
        return whole + 16 * (rest > 0)
    return whole + next(step for step in (0, 4, 8, 16) if step >= rest)


def round_down_rows(rows: int) -> int:
    """The next lower of 1, 2, 3, 4, 6, 8, 12, 16, 24, ...

    >>> [round_down_rows(n) for n in (1, 5, 7, 11, 12, 31)]
    [1, 4, 6, 8, 12, 24]
    """
    power: int = 1 << (rows.bit_length() - 1)
    return power + power // 2 if rows >= power + power // 2 else power


def few_mentions(number: int) -> int:
    """The next of 1, 8, 16, 32, ...: a mention more costs little, and a new shape costs the kernels that it needs.

    >>> [few_mentions(n) for n in (1, 2, 8, 9, 33)]
    [1, 8, 8, 16, 64]
    """
    return 1 if number < 2 else max(8, 1 << (number - 1).bit_length())


#: No constraint, for a runtime to which all shapes are equal.
ANY_SHAPE = Shapes(lambda width: width, lambda rows: rows, lambda mentions: mentions)
#: OpenVINO on a CPU compiles kernels for each shape, which takes a quarter to a half of an inference, and never frees
#: them, about 3 MB each (openvino issue 20633). Unconstrained texts make a thousand shapes; these make at most 150.
FEW_SHAPES = Shapes(vector_width, round_down_rows, few_mentions)
#: Widths that suit the allocators and kernels of a GPU.
GPU_SHAPES = Shapes(lambda width: -(-width // 32) * 32, lambda rows: rows, few_mentions)


def by_length(lengths: Sequence[int], budget: int, rows: Callable[[int], int] = ANY_SHAPE.rows) -> Iterator[list[int]]:
    """Groups of indexes, longest texts last, with (longest in group) * (group size) <= budget and sizes from `rows`.

    A text longer than the budget forms a group alone. Every index occurs once.

    >>> list(by_length([5, 2, 2, 9], budget=8))
    [[1, 2], [0], [3]]
    """
    group: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        while group and lengths[index] * (len(group) + 1) > budget:
            size = rows(len(group))
            yield group[:size]
            group = group[size:]
        group.append(index)
    while group:
        size = rows(len(group))
        yield group[:size]
        group = group[size:]


def balance_batches(
    lengths: Sequence[int], budget: int, streams: int, rows: Callable[[int], int] = ANY_SHAPE.rows
) -> list[list[int]]:
    """`by_length` in a multiple of `streams` groups: with a group left over, all streams but one would wait for it.

    >>> [len(group) for group in balance_batches([4] * 30, budget=40, streams=2)]
    [8, 8, 8, 6]
    """
    groups = list(by_length(lengths, budget, rows))
    wanted = min(len(lengths), -(-len(groups) // streams) * streams)
    if len(groups) == wanted:
        return groups
    smaller = -(-sum(lengths[g[-1]] * len(g) for g in groups) // wanted)
    while (more := list(by_length(lengths, smaller, rows))) and len(more) > wanted:
        smaller = min(budget, smaller + -(-smaller // 32))
    return more if len(more) == wanted else groups


def padded(
    rows: Sequence[Sequence[int]], width: Callable[[int], int] = ANY_SHAPE.width
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """int64[rows, width(longest)] of token ids (0 after the end of a row), and the attention mask (1 for a token).

    >>> [a.tolist() for a in padded([[5, 6], [7]])]
    [[[5, 6], [7, 0]], [[1, 1], [1, 0]]]
    """
    ids = np.zeros((len(rows), width(max(map(len, rows)))), np.int64)
    mask = np.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)], mask[i, : len(row)] = row, 1
    return ids, mask


def mention_arrays(
    mentions: Sequence[tuple[int, int, int]], number: Callable[[int], int] = ANY_SHAPE.mentions
) -> NDArray[np.int64]:
    """int64[3, number(mentions)]: row, first and end of each mention; at least one, and the first token where none is.

    >>> mention_arrays([(1, 2, 4)], lambda n: 2).tolist()
    [[1, 0], [2, 0], [4, 1]]
    """
    found = np.zeros((3, number(max(1, len(mentions)))), np.int64)
    found[2] = 1
    if mentions:
        found[:, : len(mentions)] = np.array(mentions, np.int64).T
    return found
