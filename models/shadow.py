"""A challenger that labels a share of the traffic too: how often it disagrees is known before it serves."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from models.heads import Prediction
from models.text import content_hash

log = logging.getLogger(__name__)
#: Batches without a challenger that failed, as a power of two.
_LONGEST_PAUSE = 12


class Predicts(Protocol):
    """What both engines are here."""

    def predict(self, texts: Sequence[str]) -> list[Prediction]: ...


class Shadow:
    """Compares the labels of `challenger` with those given; what it says is never served."""

    def __init__(self, challenger: Predicts | None, share: float, tell: Callable[[str, bool, int], None]) -> None:
        """`share` in [0, 1] of the texts, chosen by content so that every worker chooses the same.

        `tell(head, agree, n)` counts. Where there is no `challenger` yet, `take` brings it.
        A challenger that fails is left alone for a while, longer each time: the served labels are not its concern.
        """
        self._challenger, self._share, self._tell = challenger, share, tell
        self._failures, self._pause = 0, 0

    def take(self, challenger: Predicts) -> None:
        self._challenger = challenger

    def compare(self, texts: Sequence[str], served: Sequence[Prediction]) -> None:
        challenger = self._challenger
        chosen = [(t, p) for t, p in zip(texts, served, strict=True) if shadowed(t, self._share)]
        if challenger is None or not chosen:
            return
        if self._pause:
            self._pause -= 1
            return
        try:
            others = challenger.predict([t for t, _ in chosen])
        except Exception as error:
            self._failures += 1
            self._pause = 2 ** min(self._failures, _LONGEST_PAUSE)
            log.error("no labels of the challenger for %d batches: %s: %s", self._pause, type(error).__name__, error)
            return
        self._failures = 0
        for (_, champion), other in zip(chosen, others, strict=True):
            for head in set(champion.heads) & set(other.heads):
                self._tell(head, champion.label(head) == other.label(head), 1)


def shadowed(text: str, share: float) -> bool:
    """Whether a text belongs to the share that is compared."""
    return int(content_hash(text)[-6:], 16) < share * 0x1000000
