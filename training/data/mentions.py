"""The mentions of a row as rows of their own, for scores per mention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from models.heads import TOWARD
from training.data.examples import Example, Mention


def mention_examples(example: Example, mentions: Sequence[Mention] | None = None) -> list[Example]:
    """One example per labelled mention (all of them by default), with its label as that of the head `toward`."""
    wanted = example.mentions if mentions is None else mentions
    return [replace(example, targets={TOWARD: m.classes}, weights={}, mentions=(m,)) for m in wanted]
