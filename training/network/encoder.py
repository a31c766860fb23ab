"""An encoder of the BERT family with a linear layer per head on the mean of its token states, and a head `toward`."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, PreTrainedModel

from models.heads import TOWARD, TOWARD_LABELS
from training.config import TrainingConfigError
from training.network.toward import Mentions, TowardHead


class Classifier(nn.Module):
    """`forward(input_ids, attention_mask)` (int64[batch, tokens] each) -> float32[batch, all classes].

    The logits of the heads follow one another in the order of `heads`. A head `toward` is apart from them: with
    mentions, `forward` also returns its logits, float32[mentions, 3]. While `encoder_learns` is False, the encoder runs
    without gradients.
    """

    def __init__(self, encoder: PreTrainedModel, heads: dict[str, list[str]], dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.encoder_learns = True
        self.widths = {name: len(labels) for name, labels in heads.items() if name != TOWARD}
        width = encoder.config.hidden_size
        self.toward: TowardHead | None = None
        if TOWARD in heads:
            if tuple(heads[TOWARD]) != TOWARD_LABELS:
                raise TrainingConfigError(
                    f"head {TOWARD!r} has the classes {', '.join(heads[TOWARD])}; it needs {', '.join(TOWARD_LABELS)}"
                )
            self.toward = TowardHead(width, dropout)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, sum(self.widths.values()))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        mention_row: Tensor | None = None,
        mention_start: Tensor | None = None,
        mention_end: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        states = self.states(input_ids, attention_mask)
        pooled = self.pooled(states, attention_mask)
        logits = self.classify(pooled)
        if self.toward is None or mention_row is None or mention_start is None or mention_end is None:
            return logits
        mentions = Mentions(mention_row, mention_start, mention_end)
        return logits, self.toward(states, attention_mask, pooled, mentions)

    def states(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The encoder's last token states, float[batch, tokens, width]."""
        with nullcontext() if self.encoder_learns else torch.no_grad():
            states: Tensor = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return states

    @staticmethod
    def pooled(states: Tensor, attention_mask: Tensor) -> Tensor:
        """Mean of the token states, padding left out: float[batch, width]."""
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
