"""Which weights learn: all of them, low-rank adapters, the heads alone, or layers from the top down."""

from __future__ import annotations

from typing import Any

from torch import nn

from training.config import Hyperparameters, TrainingConfigError
from training.network.encoder import Classifier

_LORA_TARGETS = r".*(query|key|value|dense)$"


def prepare(model: Classifier, settings: Hyperparameters) -> None:
    """Sets which parameters learn; peft inserts the LoRA adapters (Hu et al. 2022) into the encoder."""
    if settings.embedding_lr == 0:
        model.words.weight.requires_grad = False
    if settings.method == "lora":
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(
            r=settings.lora_rank, lora_alpha=2 * settings.lora_rank, lora_dropout=0.05, target_modules=_LORA_TARGETS
        )
        peft_encoder: Any = get_peft_model(model.encoder, config)
        model.encoder = peft_encoder
    elif settings.method in {"frozen", "gradual"}:
        for parameter in model.encoder.parameters():
            parameter.requires_grad = False
    if settings.method == "frozen":
        model.encoder_learns = False


def merge(model: Classifier, settings: Hyperparameters) -> None:
    """Folds the adapters that `prepare` added into plain weights, so that the network can be exported."""
    if settings.method == "lora":
        encoder: Any = model.encoder
        model.encoder = encoder.merge_and_unload()
    model.encoder_learns = True
    for parameter in model.parameters():
        parameter.requires_grad = True


class Unfreezing:
    """Gradual unfreezing (Howard and Ruder 2018): first the heads learn, then one more layer at even intervals."""

    def __init__(self, model: Classifier) -> None:
        layers = next((m for m in model.encoder.modules() if isinstance(m, nn.ModuleList)), None)
        if layers is None:
            raise TrainingConfigError("train.method 'gradual': this encoder has no list of layers; use 'full'")
        self._layers = list(layers)[::-1]
        embeddings = [m for m in model.encoder.modules() if isinstance(m, nn.Embedding)]
        self._groups: list[nn.Module] = [*self._layers, nn.ModuleList(embeddings)]

    def at(self, share: float) -> int:
        """Unfreezes the groups that are due at `share` in [0, 1] of the run; returns how many groups learn now."""
        due = min(len(self._groups), int(share * (len(self._groups) + 1) * 1.5))
        for group in self._groups[:due]:
            for parameter in group.parameters():
                parameter.requires_grad = True
        return due
