"""Which part of a long text the model reads. Pure.

- head: the beginning, which holds title and lead
- head_tail: three quarters from the beginning, one from the end (Sun et al. 2019, "How to Fine-Tune BERT")
- windows: up to four consecutive windows, whose probabilities are averaged
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

LongTexts = Literal["head", "head_tail", "windows"]
MAX_WINDOWS = 4


def pieces(ids: Sequence[int], max_tokens: int, how: LongTexts) -> list[list[int]]:
    """Rows of at most `max_tokens` ids, each with the first and the last (special) id of `ids`.

    >>> pieces([1, 5, 6, 7, 8, 9, 2], 5, "head_tail")
    [[1, 5, 6, 9, 2]]
    >>> pieces([1, 5, 6, 7, 8, 9, 2], 5, "windows")
    [[1, 5, 6, 7, 2], [1, 8, 9, 2]]
    """
    if len(ids) <= max_tokens:
        return [list(ids)]
    first, inner, last, room = ids[0], list(ids[1:-1]), ids[-1], max_tokens - 2
    if how == "head":
        return [[first, *inner[:room], last]]
    if how == "head_tail":
        tail = max(1, room // 4)
        return [[first, *inner[: room - tail], *inner[-tail:], last]]
    starts = range(0, min(len(inner), MAX_WINDOWS * room), room)
    return [[first, *inner[at : at + room], last] for at in starts]


def reach(how: LongTexts) -> int:
    """The most multiples of `max_tokens` that are read of a text; head_tail reads as far as the end."""
    return {"head": 1, "head_tail": 8, "windows": MAX_WINDOWS}[how]
