"""One training, or several trainings from the same base whose weights are averaged: serving costs the same.

Wortsman et al. 2022, "Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing
inference time". Trainings from the same base end in one basin of the loss, and the mean of their weights lies lower.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from tokenizers import Tokenizer
from torch import Tensor

from training.data.examples import Example
from training.loop.finetune import fine_tune, save
from training.loop.trackers import open_trackers
from training.network.encoder import Classifier
from training.run import Run

Weights = dict[str, Tensor]


def averaged_weights(
    model: Classifier, tokenizer: Tokenizer, rows: Sequence[Example], validation: Sequence[Example], run: Run
) -> Weights:
    """The mean of the weights of `soup_size` trainings of `model`, with seeds from `seed` on.

    With several trainings, the work folder keeps the weights of each that has ended, so that a killed command resumes
    in the training it was in.
    """
    size, seed = run.settings.soup_size, run.settings.seed
    if size == 1:
        return _trained(model, tokenizer, rows, validation, run)
    start = {k: v.clone() for k, v in model.state_dict().items()}
    kept = [run.work / f"run-{number + 1}" / "run.pt" for number in range(size)]
    for number, file in enumerate(kept):
        if file.exists():
            continue
        run.log(f"training {number + 1} of {size}")
        model.load_state_dict(start)
        trained = _trained(model, tokenizer, rows, validation, run.with_seed(seed + number, file.parent))
        if run.group.first:
            save(file, trained)
        run.group.wait_for_all()
    return mean_of([torch.load(file, weights_only=True) for file in kept])


def _trained(
    model: Classifier, tokenizer: Tokenizer, rows: Sequence[Example], validation: Sequence[Example], run: Run
) -> Weights:
    settings = run.settings
    trackers = open_trackers(settings.track, run.work / "runs", settings.model_dump()) if run.group.first else []
    fine_tune(model, tokenizer, rows, run, validation=validation, trackers=trackers)
    for tracker in trackers:
        tracker.close()
    return model.state_dict()


def mean_of(weights: Sequence[Mapping[str, Tensor]]) -> Weights:
    """The mean of each floating-point tensor; of the others (positions) the first."""
    first = weights[0]
    return {
        name: torch.stack([w[name] for w in weights]).mean(0) if value.is_floating_point() else value
        for name, value in first.items()
    }
