"""Shadow traffic: the challenger labels a share of the texts as well, so that its disagreement is known in advance."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from models.engine import Encoded
from models.heads import TOWARD, Prediction
from models.mentions import Mentions
from models.text import content_hash

log = logging.getLogger(__name__)
#: A failing challenger sits out at most 2 to the power of this many batches.
_LONGEST_PAUSE = 12


class Predicts(Protocol):
    """The part of an engine that the comparison uses."""

    def predict(self, texts: Sequence[str], mentions: Sequence[Mentions] | None = None) -> list[Prediction]: ...


class Shadow:
    """Compares the challenger's labels with the served labels; never serves the challenger's labels."""

    def __init__(self, challenger: Predicts | None, share: float, count: Callable[[str, bool, int], None]) -> None:
        """`share` in [0, 1] of the texts is compared, chosen by content so that every worker chooses the same texts.

        `count(head, agree, n)` takes the result. `take` sets a challenger that arrives later. A challenger that fails
        sits out a number of batches that doubles with each failure: its failures never delay the served labels.
        """
        self._challenger, self._share, self._count = challenger, share, count
        self._failures, self._pause = 0, 0

    def take(self, challenger: Predicts) -> None:
        self._challenger = challenger

    def compare(self, encoded: Encoded, served: Sequence[Prediction]) -> None:
        """Compares the labels of the texts and, as labels of `toward`, those of the mentions that both models judge."""
        challenger = self._challenger
        chosen = [i for i, text in enumerate(encoded.texts) if shadowed(text, self._share)]
        if challenger is None or not chosen:
            return
        if self._pause:
            self._pause -= 1
            return
        try:
            part = encoded.only(chosen)
            others = challenger.predict(part.texts, part.mentions)
        except Exception as error:
            self._failures += 1
            self._pause = 2 ** min(self._failures, _LONGEST_PAUSE)
            log.error("the challenger sits out %d batches after %s: %s", self._pause, type(error).__name__, error)
            return
        self._failures = 0
        for champion, other in zip((served[i] for i in chosen), others, strict=True):
            for head in set(champion.heads) & set(other.heads):
                self._count(head, champion.label(head) == other.label(head), 1)
            for subject in champion.toward.keys() & other.toward.keys():
                self._count(TOWARD, champion.toward[subject].label == other.toward[subject].label, 1)


def shadowed(text: str, share: float) -> bool:
    """Whether the text belongs to the share that is compared."""
    return int(content_hash(text)[-6:], 16) < share * 0x1000000
