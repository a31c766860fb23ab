"""Other names for the targets of a row, so that the head `toward` learns what is said and not about whom."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from models.text import language
from training.data.examples import Example, Mention
from training.data.names import HAN, LATIN


class Renamer:
    """Replaces the names of a row by names of other rows in the same script, or by invented brands.

    A name that stands at several mentions gets one new name. Names in lower case stay in lower case.
    """

    def __init__(self, examples: Sequence[Example], share: float) -> None:
        """`share` in [0, 1] is the share of the rows with names that get other names."""
        self._share = share
        found = {e.text[m.start : m.end] for e in examples for m in e.mentions if m.name}
        # A pronoun stands for a name in many rows and must not replace one.
        names = sorted(name for name in found if name[:1].isupper() and len(name) > 3 and name.lower() not in _PRONOUNS)
        han = sorted(name for name in found if language(name) == "zh")
        self._latin, self._han = [*names, *LATIN], [*han, *HAN]

    def __call__(self, example: Example, rng: random.Random) -> Example:
        """The row, or the row with other names."""
        if not any(m.name for m in example.mentions) or rng.random() >= self._share:
            return example
        han = language(example.text) == "zh"
        chosen: dict[str, str] = {}
        text, mentions, at = "", list[Mention](), 0
        for mention in example.mentions:
            if mention.start < at:
                continue
            old = example.text[mention.start : mention.end]
            if mention.name and old not in chosen:
                other = rng.choice(self._han if han and rng.random() < 0.7 else self._latin)
                chosen[old] = other.lower() if old.islower() else other
            new = chosen.get(old, old)
            text += example.text[at : mention.start]
            mentions.append(replace(mention, start=len(text), end=len(text) + len(new)))
            text, at = text + new, mention.end
        return replace(example, text=text + example.text[at:], mentions=tuple(mentions))


_PRONOUNS = frozenset(
    {"they", "their", "them", "this", "that", "these", "those", "theirs", "himself", "herself", "your"}
)
