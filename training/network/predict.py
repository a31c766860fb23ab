"""The predictions of a network in torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from models.heads import TOWARD_LABELS
from training.data.batches import token_budget_batches
from training.data.examples import Example
from training.data.mentions import mention_examples
from training.data.tensors import Row, encode, encode_rows, mention_batch, pad
from training.devices import device_of
from training.network.encoder import Classifier


def predict(
    model: Classifier, tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int, batch_tokens: int = 4096
) -> dict[str, Tensor]:
    """Probabilities per head, float32[len(texts), classes], in the order given; no gradients."""
    ids = encode(tokenizer, texts, max_tokens)
    found = {head: torch.zeros(len(texts), n) for head, n in model.widths.items()}
    device, was_training = device_of(model), model.training
    model.eval()
    with torch.inference_mode():
        for batch in token_budget_batches([len(row) for row in ids], batch_tokens, seed=0):
            input_ids, mask = (t.to(device) for t in pad([ids[i] for i in batch]))
            for head, logits in model.split(model(input_ids, mask)).items():
                found[head][batch] = logits.softmax(1).cpu()
    model.train(was_training)
    return found


def predict_toward(
    model: Classifier, tokenizer: Tokenizer, examples: Sequence[Example], max_tokens: int, batch_tokens: int = 4096
) -> tuple[list[Example], NDArray[np.float32]]:
    """The mentions of the rows as examples of their own, and the probabilities of each, float32[mentions, 3].

    Mentions beyond `max_tokens` are left out.
    """
    encoded = encode_rows(tokenizer, examples, max_tokens)
    rows = [Row(row.ids, (mention,)) for row in encoded for mention in row.mentions]
    judged = [
        one
        for example, row in zip(examples, encoded, strict=True)
        for one in mention_examples(example, [m for *_, m in row.mentions])
    ]
    device, was_training = device_of(model), model.training
    model.eval()
    found = np.zeros((len(rows), len(TOWARD_LABELS)), np.float32)
    with torch.inference_mode():
        for batch in token_budget_batches([len(row.ids) for row in rows], batch_tokens, seed=0):
            input_ids, mask = (t.to(device) for t in pad([rows[i].ids for i in batch]))
            at = mention_batch([rows[i] for i in batch]).to(device)
            _, toward = model(input_ids, mask, at.row, at.start, at.end)
            found[batch] = toward.softmax(1).cpu().numpy()
    model.train(was_training)
    return judged, found
