"""Several runs from one start: the mean of their weights, and a killed command that goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.conftest import (
    HEADS,
    RECIPE,
    settings,
    toy_encoder,
    toy_examples,
    toy_rows,
    toy_tokenizer,
    write_jsonl,
)
from training.config import TrainingConfig
from training.loop.weight_averaging import Weights, averaged_weights, mean_of
from training.network.encoder import Classifier
from training.progress import Progress
from training.request import Request
from training.run import Reporter, Run
from training.train import train


def weights(work: Path, said: list[str], stop_in: int = -1, **changes: Any) -> Weights:
    """Of a toy network; Ctrl-C at the first report of run `stop_in`."""
    torch.manual_seed(0)
    model = Classifier(toy_encoder(), HEADS, 0.1)

    def tell(_: Progress) -> None:
        if len(said) == stop_in:
            raise KeyboardInterrupt

    config = TrainingConfig(train=settings(epochs=1.0, track=[], **changes))
    run = Run(config, work, Reporter(said.append, tell))
    return averaged_weights(model, toy_tokenizer(), toy_examples(80), [], run)


def test_the_mean_of_runs_is_that_of_each_alone(tmp_path: Path) -> None:
    said: list[str] = []
    both = weights(tmp_path / "both", said, seed=5, soup_size=2)
    alone = [weights(tmp_path / str(seed), [], seed=seed) for seed in (5, 6)]
    assert said == ["training 1 of 2", "training 2 of 2"]
    wanted = mean_of(alone)
    assert all(torch.allclose(both[name], wanted[name], atol=1e-6) for name in wanted)
    assert not torch.equal(alone[0]["output.weight"], alone[1]["output.weight"]), "their seeds differ"


@pytest.mark.parametrize("method", ["lora", "frozen"])
def test_each_run_begins_at_the_start_whatever_the_method(method: str, tmp_path: Path) -> None:
    twice = weights(tmp_path / "twice", [], method=method, soup_size=2)
    wanted = mean_of([weights(tmp_path / str(s), [], method=method, seed=s) for s in (17, 18)])
    assert all(torch.allclose(twice[name], wanted[name], atol=1e-6) for name in wanted)


def test_a_killed_command_goes_on_with_the_run_it_was_in(tmp_path: Path) -> None:
    whole = weights(tmp_path / "whole", [], soup_size=3)
    with pytest.raises(KeyboardInterrupt):
        weights(tmp_path / "cut", [], stop_in=2, soup_size=3)
    said: list[str] = []
    resumed = weights(tmp_path / "cut", said, soup_size=3)
    assert said == ["training 2 of 3", "training 3 of 3"]
    assert all(torch.allclose(whole[name], resumed[name], atol=1e-6) for name in whole)


def test_the_command_says_the_seed_and_the_runs(base_folder: Path, tmp_path: Path) -> None:
    recipe, said = tmp_path / "recipe.toml", list[str]()
    recipe.write_text(RECIPE.replace("[train]", "[train]\nsoup_size = 2"))
    rows = write_jsonl(tmp_path / "rows.jsonl", toy_rows(300))
    report = train(Request(tmp_path / "out", str(base_folder), "1", recipe, (rows,), seed=7), said.append)
    assert report["settings"]["seed"] == 7
    assert [line for line in said if line.startswith("training ")] == ["training 1 of 2", "training 2 of 2"]
    assert report["after"]["test/label"]["accuracy"] > 0.9
