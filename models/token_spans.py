"""From a span of characters to the tokens that cover it. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def token_span(offsets: Sequence[tuple[int, int]], start: int, end: int) -> tuple[int, int] | None:
    """The half-open range of the tokens that overlap the characters [start, end), or None where no token does.

    `offsets` are the character ranges of a row's tokens; those of special tokens are empty. A token may reach beyond
    the span: a piece takes in the space before a word, and one piece may hold several Chinese words.

    >>> token_span([(0, 0), (0, 1), (1, 6), (6, 11), (0, 0)], 2, 11), token_span([(0, 0), (0, 4), (0, 0)], 8, 9)
    ((2, 4), None)
    """
    covering = [i for i, (first, last) in enumerate(offsets) if first < end and last > start and first < last]
    return (covering[0], covering[-1] + 1) if covering else None
