"""Weak labels from words, for texts without a label (Ratner et al. 2017, "Snorkel": labelling functions).

A text with words of exactly one class gets that class; a text with words of several classes or of none gets no label.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence


def labelling_function(words: Mapping[str, Sequence[str]]) -> Callable[[str], list[str]]:
    """A function from a text to the class whose words it contains (whole words, ignoring case), or to no class.

    >>> label = labelling_function({"travel": ["hotel"], "autos": ["car", "cars"]})
    >>> label("The Hotel was clean"), label("My car is at the hotel"), label("a carpet")
    (['travel'], [], [])
    """
    patterns = {
        name: re.compile(rf"\b(?:{'|'.join(map(re.escape, listed))})\b", re.IGNORECASE)
        for name, listed in words.items()
    }

    def label(text: str) -> list[str]:
        found = [name for name, pattern in patterns.items() if pattern.search(text)]
        return found if len(found) == 1 else []

    return label
