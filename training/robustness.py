"""Noise as it comes in posts, the same for the same text: typing errors, look-alike letters, width, emoji."""

from __future__ import annotations

import random
from collections.abc import Callable

_LOOKALIKES = str.maketrans("aceiopxyACEHKMOPTX", "асеіорхуАСЕНКМОРТХ")
_FULL_WIDTH = {c: c + 0xFEE0 for c in range(0x21, 0x7F)}
_EMOJI = "😀😡🔥👍"


def typos(text: str, rate: float = 0.05) -> str:
    """Neighbouring characters exchanged at `rate` of the places."""
    rng, letters = random.Random(text), list(text)  # noqa: S311
    for i in range(len(letters) - 1):
        if rng.random() < rate:
            letters[i], letters[i + 1] = letters[i + 1], letters[i]
    return "".join(letters)


def lookalikes(text: str) -> str:
    """Every fourth Latin letter that has a Cyrillic twin replaced by it."""
    rng = random.Random(text)  # noqa: S311
    return "".join(c.translate(_LOOKALIKES) if rng.random() < 0.25 else c for c in text)


def full_width(text: str) -> str:
    """ASCII as full-width forms, as input methods leave it."""
    return text.translate(_FULL_WIDTH)


def emoji(text: str) -> str:
    """One emoji at a random place."""
    rng = random.Random(text)  # noqa: S311
    place = rng.randint(0, len(text))
    return text[:place] + rng.choice(_EMOJI) + text[place:]


PERTURBATIONS: dict[str, Callable[[str], str]] = {
    "typos": typos,
    "look-alikes": lookalikes,
    "full width": full_width,
    "emoji": emoji,
}
