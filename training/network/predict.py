"""The predictions of a network in torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tokenizers import Tokenizer
from torch import Tensor

from training.data.batches import token_budget_batches
from training.data.tensors import encode, pad
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
