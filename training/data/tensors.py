"""Texts and labels as tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from models.batching import padded
from models.heads import TOWARD_LABELS
from models.token_spans import token_span
from training.data.examples import Example, Mention


def encode(tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """Token ids per text, cut to `max_tokens` with the closing special token kept."""
    tokenizer.enable_truncation(max_tokens)
    tokenizer.no_padding()
    return [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]


class Row(NamedTuple):
    """The token ids of a text, and its mentions with the tokens [start, end) that cover each."""

    ids: list[int]
    mentions: tuple[tuple[int, int, Mention], ...] = ()


def encode_rows(tokenizer: Tokenizer, examples: Sequence[Example], max_tokens: int) -> list[Row]:
    """Token ids per text as `encode` gives them; mentions beyond `max_tokens` are left out."""
    tokenizer.enable_truncation(max_tokens)
    tokenizer.no_padding()
    rows = []
    for example, encoding in zip(examples, tokenizer.encode_batch([e.text for e in examples]), strict=True):
        spans = [(token_span(encoding.offsets, m.start, m.end), m) for m in example.mentions]
        rows.append(Row(encoding.ids, tuple((*span, m) for span, m in spans if span is not None)))
    return rows


class MentionBatch(NamedTuple):
    """The mentions of a batch: where they are (int64), their labels or soft labels, and their weights (float32).

    `truth[i]` is the probability of each class that counts as right, or a teacher's. A batch without mentions has one,
    of weight 0.
    """

    row: Tensor
    start: Tensor
    end: Tensor
    truth: Tensor
    weight: Tensor
    soft: Tensor

    def to(self, device: torch.device) -> MentionBatch:
        return MentionBatch(*(t.to(device) for t in self))


def mention_batch(rows: Sequence[Row]) -> MentionBatch:
    """The mentions of the rows of a batch, one after another."""
    found = [(i, *mention) for i, row in enumerate(rows) for mention in row.mentions]
    if not found:
        found = [(0, 0, 1, Mention(0, 1, (0,), weight=0.0))]
    truth = np.zeros((len(found), len(TOWARD_LABELS)), np.float32)
    for i, (_, _, _, mention) in enumerate(found):
        if mention.soft:
            truth[i] = mention.soft
        else:
            truth[i, list(mention.classes)] = 1.0
    places = np.array([place[:3] for place in found], np.int64).T
    weights = np.array([m.weight for *_, m in found], np.float32)
    soft = np.array([bool(m.soft) for *_, m in found])
    return MentionBatch(*map(torch.from_numpy, (*places, truth, weights, soft)))


def pad(ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """int64[batch, longest] ids (0 is padding) and their attention mask."""
    rows, mask = padded(ids)
    return torch.from_numpy(rows), torch.from_numpy(mask)


def targets(batch: Sequence[Example], widths: Mapping[str, int]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Per head: bool[batch, classes] of allowed classes, float32[batch] of weights."""
    allowed = {h: np.zeros((len(batch), n), np.bool_) for h, n in widths.items()}
    weights = {h: np.ones(len(batch), np.float32) for h in widths}
    for i, example in enumerate(batch):
        for head, classes in example.targets.items():
            # In numpy and class by class: a torch index_put per row took fifteen times as long.
            for index in classes:
                allowed[head][i, index] = True
            weights[head][i] = example.weights.get(head, 1.0)
    return {h: torch.from_numpy(a) for h, a in allowed.items()}, {h: torch.from_numpy(w) for h, w in weights.items()}


def soft_targets(batch: Sequence[Example], widths: Mapping[str, int]) -> dict[str, Tensor]:
    """Per head float32[batch, classes] of a teacher's probabilities; empty where a row has none.

    The probabilities of a head that no teacher has are all 0.
    """
    lines = [example.soft for example in batch if example.soft is not None]
    if len(lines) < len(batch):
        return {}
    whole = torch.from_numpy(np.stack(lines)).float()
    return dict(zip(widths, torch.split(whole, list(widths.values()), dim=1), strict=True))
