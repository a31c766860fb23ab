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
from training.data.examples import Example
from training.loop.finetune import Progress, fine_tune, save
from training.loop.process_group import World
from training.loop.trackers import open_trackers
from training.network.encoder import Classifier

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

    def run(folder: Path, own: Hyperparameters) -> Weights:
        trackers = open_trackers(own.track, folder / "runs", own.model_dump()) if world.first else []
        fine_tune(model, tokenizer, rows, own, folder, tell, validation=validation, trackers=trackers, world=world)
        for tracker in trackers:
            tracker.close()
        return model.state_dict()

    if settings.runs == 1:
        return run(work, settings)
    start = {k: v.clone() for k, v in model.state_dict().items()}
    kept = [work / f"run-{number + 1}" / "run.pt" for number in range(settings.runs)]
    for number, file in enumerate(kept):
        if file.exists():
            continue
        say(f"run {number + 1} of {settings.runs}")
        model.load_state_dict(start)
        trained = run(file.parent, settings.model_copy(update={"seed": settings.seed + number}))
        if world.first:
            save(file, trained)
        world.wait_for_all()
    return averaged([torch.load(file, weights_only=True) for file in kept])


def averaged(weights: Sequence[Mapping[str, Tensor]]) -> Weights:
    """The mean of each floating tensor; what is none (positions) is the first's."""
    first = weights[0]
    return {
        name: torch.stack([w[name] for w in weights]).mean(0) if value.is_floating_point() else value
        for name, value in first.items()
    }
