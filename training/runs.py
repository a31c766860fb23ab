"""One training, or several from the same start with the mean of their weights: a network that costs no more to serve.

Wortsman et al. 2022, "Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing
inference time". Runs from the same start end in one basin, so that the mean of their weights lies lower in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from training.config import Hyperparameters
from training.data import Example
from training.distributed import World
from training.loop import Progress, fine_tune, save
from training.network import Classifier
from training.trackers import open_trackers

Weights = dict[str, Tensor]


def trained_weights(
    model: Classifier,
    tokenizer: Tokenizer,
    rows: Sequence[Example],
    validation: Sequence[Example],
    settings: Hyperparameters,
    work: Path,
    say: Callable[[str], None],
    tell: Callable[[Progress], None],
    world: World,
) -> Weights:
    """The mean of the weights of `settings.runs` trainings of `model`, with seeds from `settings.seed` on.

    Of several, one that ended is kept in `work`: a killed command goes on with the one it was in.
    """
    start = {k: v.clone() for k, v in model.state_dict().items()} if settings.runs > 1 else model.state_dict()
    folders = [work / f"run-{n + 1}" if settings.runs > 1 else work for n in range(settings.runs)]
    kept = [folder / "run.pt" for folder in folders]
    ended = [file.exists() for file in kept]
    for number, (folder, file) in enumerate(zip(folders, kept, strict=True)):
        if ended[number]:
            continue
        if settings.runs > 1:
            say(f"run {number + 1} of {settings.runs}")
        folder.mkdir(parents=True, exist_ok=True)
        model.load_state_dict(start)
        own = settings.model_copy(update={"seed": settings.seed + number})
        trackers = open_trackers(own.track, folder / "runs", own.model_dump()) if world.first else []
        fine_tune(model, tokenizer, rows, own, folder, tell, validation=validation, trackers=trackers, world=world)
        for tracker in trackers:
            tracker.close()
        if settings.runs == 1:
            return model.state_dict()
        if world.first:
            save(file, model.state_dict())
        world.wait_for_all()
    return averaged([torch.load(file, weights_only=True) for file in kept])


def averaged(weights: Sequence[Mapping[str, Tensor]]) -> Weights:
    """The mean of each floating tensor; what is none (positions) is the first's."""
    first = weights[0]
    return {
        name: torch.stack([w[name] for w in weights]).mean(0) if value.is_floating_point() else value
        for name, value in first.items()
    }
