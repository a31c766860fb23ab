"""Mentions as rows of their own, and places that stand for mentions where no target is known."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace

from models.heads import TOWARD
from training.data.examples import Example, Mention

#: Longer runs without a space are Chinese or an address; a place is then a part of it.
_MOST_CHARACTERS = 12


def mention_examples(example: Example, mentions: Sequence[Mention] | None = None) -> list[Example]:
    """One example per labelled mention (all of them by default), with its label as that of the head `toward`."""
    wanted = example.mentions if mentions is None else mentions
    return [replace(example, targets={TOWARD: m.classes}, weights={}, mentions=(m,)) for m in wanted]


def any_place(text: str, rng: random.Random) -> Mention:
    """A random word of a text that is not empty, or a few characters where the text has no spaces."""
    words = [word.span() for word in re.finditer(r"\S+", text)]
    start, end = rng.choice(words)
    if end - start > _MOST_CHARACTERS:
        start = rng.randrange(start, end - _MOST_CHARACTERS)
        end = start + rng.randint(1, _MOST_CHARACTERS)
    return Mention(start, end)
