"""Noise as it comes in posts, the same for the same text: typing errors, look-alike letters, width, emoji."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from training.data.examples import Example

_LOOKALIKES = str.maketrans("aceiopxyACEHKMOPTX", "асеіорхуАСЕНКМОРТХ")
_FULL_WIDTH = {c: c + 0xFEE0 for c in range(0x21, 0x7F)}
_EMOJI = "😀😡🔥👍"
#: Signs that say nothing of a mood: a model can learn to read past them, which it should not past an angry face.
_SIGNS = "📷📰📌🔗📍🕐🎧📱🏢🌍"


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


def emoji(text: str, among: str = _EMOJI) -> str:
    """One emoji at a random place."""
    rng = random.Random(text)  # noqa: S311
    place = rng.randint(0, len(text))
    return text[:place] + rng.choice(among) + text[place:]


PERTURBATIONS: dict[str, Callable[[str], str]] = {
    "typos": typos,
    "look-alikes": lookalikes,
    "full width": full_width,
    "emoji": emoji,
}

_LEARNABLE = (typos, lookalikes, partial(emoji, among=_SIGNS))


def disturbed(rows: Sequence[Example], share: float, seed: int) -> list[Example]:
    """Copies of about `share` of the rows with typing errors, look-alike letters or a sign, and their labels.

    A row's soft labels too: the student is to say of the copy what the teacher says of the text as it was.
    """
    rng = random.Random(seed)  # noqa: S311
    copies = (replace(row, text=rng.choice(_LEARNABLE)(row.text)) for row in rows if rng.random() < share)
    known = {row.text for row in rows}
    return [copy for copy in copies if copy.text not in known]
