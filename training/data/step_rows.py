"""The rows of a training as a step sees them: with other tokens or other names from step to step."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tokenizers import Tokenizer

from training.config import Hyperparameters
from training.data.augmentation import Augmenter
from training.data.examples import Example
from training.data.renaming import Renamer
from training.data.tensors import Row, encode_rows


class StepRows:
    """Encodes the rows once; a row with other names is encoded again when it is drawn."""

    def __init__(
        self, tokenizer: Tokenizer, examples: Sequence[Example], settings: Hyperparameters, near: Sequence[int] = ()
    ) -> None:
        """`near` are the nearest tokens for `settings.neighbours`."""
        self._tokenizer, self._examples, self._max_tokens = tokenizer, examples, settings.max_tokens
        self._rows = encode_rows(tokenizer, examples, settings.max_tokens)
        self._augment = Augmenter(settings.token_dropout, settings.neighbours, settings.span_swap, near)
        self._rename = Renamer(examples, settings.renamed_share)

    @property
    def lengths(self) -> list[int]:
        return [len(row.ids) for row in self._rows]

    def draw(self, index: int, rng: random.Random) -> tuple[Example, Row]:
        """The example at this index and its tokens; those of a row with mentions stay, since their places count."""
        example, row = self._examples[index], self._rows[index]
        if not example.mentions:
            return example, Row(self._augment(row.ids, rng))
        renamed = self._rename(example, rng)
        if renamed is example:
            return example, row
        return renamed, encode_rows(self._tokenizer, [renamed], self._max_tokens)[0]
