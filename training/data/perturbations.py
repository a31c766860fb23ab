"""Noise as posts contain it: typing errors, look-alike letters, full-width forms, emoji. Deterministic per text."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from training.data.examples import Example

_LOOKALIKES = str.maketrans("aceiopxyACEHKMOPTX", "асеіорхуАСЕНКМОРТХ")
_FULL_WIDTH = {c: c + 0xFEE0 for c in range(0x21, 0x7F)}
_EMOJI = "😀😡🔥👍"
#: Pictographs without a sentiment: a model should learn to ignore them, but not to ignore an angry face.
_SIGNS = "📷📰📌🔗📍🕐🎧📱🏢🌍"


def typos(text: str, rate: float = 0.05) -> str:
    """Swaps neighbouring characters at a share `rate` of the positions."""
    rng, letters = random.Random(text), list(text)  # noqa: S311
    for i in range(len(letters) - 1):
        if rng.random() < rate:
            letters[i], letters[i + 1] = letters[i + 1], letters[i]
    return "".join(letters)


def lookalikes(text: str) -> str:
    """Replaces every fourth Latin letter that has a Cyrillic look-alike."""
    rng = random.Random(text)  # noqa: S311
    return "".join(c.translate(_LOOKALIKES) if rng.random() < 0.25 else c for c in text)


def full_width(text: str) -> str:
    """Writes ASCII as full-width forms, as Chinese input methods do."""
    return text.translate(_FULL_WIDTH)


def emoji(text: str, among: str = _EMOJI) -> str:
    """Inserts one emoji at a random position."""
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


def perturbed_copies(rows: Sequence[Example], share: float, seed: int) -> list[Example]:
    """Copies of about a share `share` of the rows with typing errors, look-alike letters or a pictograph.

    A copy keeps the labels and the soft labels of its row: the student learns the teacher's answer to the clean text.
    """
    rng = random.Random(seed)  # noqa: S311
    copies = (replace(row, text=rng.choice(_LEARNABLE)(row.text)) for row in rows if rng.random() < share)
    known = {row.text for row in rows}
    return [copy for copy in copies if copy.text not in known]
