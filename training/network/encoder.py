"""An encoder of the BERT family with one linear layer per head on the mean of its token states."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, PreTrainedModel


class Classifier(nn.Module):
    """`forward(input_ids, attention_mask)` (int64[batch, tokens] each) -> float32[batch, all classes].

    The logits of the heads follow one another in the order of `heads`. While `encoder_learns` is False, the encoder
    runs without gradients.
    """

    def __init__(self, encoder: PreTrainedModel, heads: dict[str, list[str]], dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.encoder_learns = True
        self.widths = {name: len(labels) for name, labels in heads.items()}
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(encoder.config.hidden_size, sum(self.widths.values()))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.classify(self.pooled(input_ids, attention_mask))

    def pooled(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Mean of the token states, padding left out: float[batch, width]."""
        with nullcontext() if self.encoder_learns else torch.no_grad():
            states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        mean: Tensor = (states * mask).sum(1) / mask.sum(1).clamp(min=1.0)
        return mean

    @property
    def words(self) -> nn.Embedding:
        """The word embedding, wherever the encoder keeps it."""
        embedding = self.encoder.get_input_embeddings()
        if not isinstance(embedding, nn.Embedding):
            raise TypeError(f"the encoder's word embedding is a {type(embedding).__name__}")
        return embedding

    def classify(self, pooled: Tensor) -> Tensor:
        logits: Tensor = self.output(self.dropout(pooled))
        return logits.float()

    def split(self, logits: Tensor) -> dict[str, Tensor]:
        """Logits per head."""
        return dict(zip(self.widths, torch.split(logits, list(self.widths.values()), dim=1), strict=True))


def build_classifier(base: BertModel, rows: Tensor, heads: dict[str, list[str]], dropout: float) -> Classifier:
    """The pretrained encoder with new embedding rows (float32[n_pieces, width]) and fresh heads."""
    config = BertConfig(**{**base.config.to_dict(), "vocab_size": rows.shape[0], "hidden_dropout_prob": dropout})
    encoder = BertModel(config, add_pooling_layer=False)  # type: ignore[no-untyped-call]
    state = {k: v for k, v in base.state_dict().items() if not k.startswith("pooler.")}
    state["embeddings.word_embeddings.weight"] = rows
    encoder.load_state_dict(state)
    return Classifier(encoder, heads, dropout)
