"""Weak labels from words, for texts that nobody labelled (Ratner et al. 2017, "Snorkel": labelling functions).

A text that holds words of exactly one class is given that class; of several or of none, it stays without.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence


def labelling_function(words: Mapping[str, Sequence[str]]) -> Callable[[str], list[str]]:
    """A function from a text to the one class whose words it holds (whole words, case ignored), or to none.

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
