"""The optimizer, with a learning rate for each part of the network, and the schedule of the rates."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from training.config import Hyperparameters
from training.network.encoder import Classifier


def rate_factor(step: int, steps: int, warmup: float, schedule: str) -> float:
    """The factor in [0, 1] on every learning rate: linear warm-up over `warmup` (share of steps), then `schedule`."""
    ramp = max(1, int(steps * warmup))
    if step < ramp:
        return (step + 1) / ramp
    share = min(1.0, (step - ramp) / max(1, steps - ramp))
    return {"cosine": 0.5 * (1 + math.cos(math.pi * share)), "linear": 1 - share, "constant": 1.0}[schedule]


def make_optimizer(model: Classifier, settings: Hyperparameters) -> torch.optim.Optimizer:
    """AdamW or SGD with a rate each for the heads and adapters, the word embeddings and the rest of the encoder."""
    heads: list[Tensor] = []
    embeddings: list[Tensor] = []
    encoder: list[Tensor] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad and settings.method != "gradual":
            continue
        new = name.startswith(("output", "toward")) or "lora_" in name
        (heads if new else embeddings if "word_embeddings" in name else encoder).append(parameter)
    embedding_lr = settings.encoder_lr if settings.embedding_lr is None else settings.embedding_lr
    groups = [
        {"params": heads, "lr": settings.head_lr, "weight_decay": 0.0},
        {
            "params": embeddings,
            "lr": embedding_lr,
            "weight_decay": 0.0,
        },
        {"params": encoder, "lr": settings.encoder_lr, "weight_decay": settings.weight_decay},
    ]
    groups = [g for g in groups if g["params"]]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=settings.momentum, nesterov=settings.momentum > 0)
    return torch.optim.AdamW(groups, fused=True)
