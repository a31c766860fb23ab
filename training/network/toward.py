"""The head `toward`: sentiment toward a mention, read from the token states of the encoder's one pass."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

_REACH = 16
#: Added to the scores of padding; fp16 holds it.
_NEVER = -1e4


class Mentions(NamedTuple):
    """Where the mentions of a batch stand: int64[mentions] each; tokens are half open and count the special one."""

    row: Tensor
    start: Tensor
    end: Tensor


class TowardHead(nn.Module):
    """Logits of negative, neutral and positive toward each mention.

    It reads the mean of the mention's token states, the pooled state of the row, and what a few attention heads find
    in the row with the mention as their query and a learned bias for the distance in tokens. Queries are multiplied
    by the key matrix before they meet the tokens, so that no token is projected: a mention costs thousandths of a
    pass of the encoder.
    """

    def __init__(self, width: int, dropout: float, *, heads: int = 4, keys: int = 32, hidden: int = 128) -> None:
        super().__init__()
        self.heads, self.keys = heads, keys
        self.query = nn.Linear(width, heads * keys)
        self.key = nn.Parameter(torch.randn(heads, keys, width) / math.sqrt(width))
        self.value = nn.Parameter(torch.randn(heads, width, keys) / math.sqrt(width))
        self.distance = nn.Parameter(torch.zeros(2 * _REACH + 1, heads))
        self.hidden = nn.Linear(2 * width + heads * keys, hidden)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, 3)

    def forward(self, states: Tensor, mask: Tensor, pooled: Tensor, mentions: Mentions) -> Tensor:
        """float32[mentions, 3]; `states` are [rows, tokens, width], `mask` [rows, tokens], `pooled` [rows, width]."""
        row, start, end = mentions
        tokens = states[row]
        at = torch.arange(states.shape[1], device=states.device).unsqueeze(0)
        before, after = (at - start.unsqueeze(1)).clamp(max=0), (at - end.unsqueeze(1) + 1).clamp(min=0)
        distance = before + after
        inside = (distance == 0).to(states.dtype)
        mention = torch.bmm(inside.unsqueeze(1), tokens)[:, 0] / inside.sum(1, keepdim=True)
        query = self.query(mention).view(-1, self.heads, 1, self.keys)
        scores = torch.matmul(torch.matmul(query, self.key)[:, :, 0], tokens.transpose(1, 2)) / math.sqrt(self.keys)
        bias = self.distance[distance.clamp(-_REACH, _REACH) + _REACH].transpose(1, 2)
        hidden_from = (1 - mask[row]).to(states.dtype).unsqueeze(1) * _NEVER
        weights = (scores + bias + hidden_from).softmax(2)
        found = torch.matmul(torch.matmul(weights, tokens).unsqueeze(2), self.value).flatten(1)
        seen = self.hidden(torch.cat([mention, pooled[row], found], 1))
        logits: Tensor = self.output(self.dropout(nn.functional.gelu(seen)))
        return logits.float()
