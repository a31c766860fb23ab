"""Every way of training learns, and a killed run goes on as if it had not been killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.conftest import HEADS, run_in, settings, toy_encoder, toy_examples, toy_tokenizer
from training.config import TrainingConfigError
from training.evaluation.scores import macro_f1
from training.loop.finetune import fine_tune
from training.loop.optimizers import make_optimizer, rate_factor
from training.loop.trackers import open_trackers
from training.network.encoder import Classifier
from training.network.predict import predict
from training.progress import Progress

TEST = toy_examples(200, seed=9)


def score(model: Classifier) -> float:
    found = predict(model, toy_tokenizer(), [e.text for e in TEST], 32)
    return macro_f1(found["sentiment"].numpy(), TEST, "sentiment")


@pytest.mark.parametrize(
    ("changes", "at_least"),
    [
        ({}, 0.95),
        ({"method": "lora", "lora_rank": 4, "epochs": 8.0, "head_lr": 2e-2}, 0.9),
        ({"method": "frozen", "epochs": 10.0, "head_lr": 3e-2}, 0.75),
        ({"method": "gradual", "epochs": 6.0}, 0.9),
        ({"optimizer": "sgd", "encoder_lr": 0.05, "head_lr": 0.2, "epochs": 8.0}, 0.9),
        ({"lr_schedule": "linear", "gradient_accumulation_steps": 2, "epochs": 6.0}, 0.95),
        ({"loss": "focal"}, 0.95),
        ({"loss": "gce"}, 0.95),
        ({"small_loss_trim": 0.1}, 0.95),
        ({"adversarial": 0.5}, 0.95),
        ({"mixup": 0.4}, 0.95),
        ({"token_dropout": 0.1, "span_swap": 0.3, "neighbours": 0.05}, 0.95),
        ({"resample": 1.0}, 0.95),
        ({"early_stopping": 2, "evaluate_every": 0.5}, 0.95),
    ],
    ids=lambda v: "-".join(f"{k}={x}" for k, x in v.items()) or "full" if isinstance(v, dict) else "",
)
def test_each_way_of_training_learns(
    model: Classifier, tmp_path: Path, changes: dict[str, Any], at_least: float
) -> None:
    before = {k: v.clone() for k, v in model.encoder.state_dict().items()}
    assert score(model) < 0.75
    examples = toy_examples(600)
    fine_tune(model, toy_tokenizer(), examples, run_in(tmp_path, settings(**changes)), validation=toy_examples(80, 3))
    assert score(model) >= at_least
    after = model.encoder.state_dict()
    assert set(after) == set(before), "adapters are folded into plain weights"
    same = all(torch.equal(before[k], after[k]) for k in before)
    assert same == (changes.get("method") == "frozen")
    assert list(tmp_path.iterdir()) == [], "no checkpoint is left"


def test_a_killed_run_goes_on_and_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.loop.finetune._SAVE_EVERY_S", -1.0)
    monkeypatch.setattr("training.loop.finetune._REPORT_EVERY", 1)
    examples, plan = toy_examples(300), settings(epochs=2.0, token_dropout=0.1)

    def train(folder: Path, stop_at: int | None) -> Classifier:
        model = Classifier(toy_encoder(), HEADS, 0.0)

        def report(p: Progress) -> None:
            if p.step == stop_at:
                raise KeyboardInterrupt

        fine_tune(model, toy_tokenizer(), examples, run_in(folder, plan, report))
        return model

    whole = train(tmp_path / "whole", None)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", 7)
    assert (tmp_path / "cut" / "checkpoint.pt").exists()
    resumed = train(tmp_path / "cut", None)
    for (name, one), other in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.allclose(one, other, atol=1e-6), name


def test_early_stopping_ends_the_run_and_keeps_the_best_weights(model: Classifier, tmp_path: Path) -> None:
    told: list[Progress] = []
    rows = toy_examples(200)
    # A rate that wrecks the model later on: the best evaluation is not the last.
    plan = settings(epochs=20.0, encoder_lr=0.02, early_stopping=2, lr_schedule="constant")
    run = run_in(tmp_path, plan, told.append)
    fine_tune(model, toy_tokenizer(), rows, run, validation=toy_examples(100, 3))
    evaluations = [p.validation for p in told if p.validation is not None]
    assert told[-1].step < told[-1].steps
    found = predict(model, toy_tokenizer(), [e.text for e in toy_examples(100, 3)], 32)
    assert macro_f1(found["sentiment"].numpy(), toy_examples(100, 3), "sentiment") == pytest.approx(max(evaluations))


def test_the_rate_warms_up_and_decays() -> None:
    for decay, middle, end in (("cosine", 0.5, 0.0), ("linear", 0.5, 0.0), ("constant", 1.0, 1.0)):
        assert rate_factor(0, 110, 0.1, decay) == pytest.approx(1 / 11)
        assert rate_factor(10, 110, 0.1, decay) == 1.0
        assert rate_factor(60, 110, 0.1, decay) == pytest.approx(middle, abs=0.02)
        assert rate_factor(109, 110, 0.1, decay) == pytest.approx(end, abs=0.02)


def test_tensorboard_gets_the_figures_and_a_missing_tool_is_named(model: Classifier, tmp_path: Path) -> None:
    trackers = open_trackers(["tensorboard"], tmp_path / "runs", {"epochs": 1})
    run = run_in(tmp_path, settings(epochs=1.0))
    fine_tune(model, toy_tokenizer(), toy_examples(50), run, trackers=trackers)
    for tracker in trackers:
        tracker.close()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "runs" / "tensorboard"))
    events.Reload()
    assert {"train/loss", "train/rate", "train/rows_per_s"} <= set(events.Tags()["scalars"])
    with pytest.raises(TrainingConfigError, match="pip install mlflow"):
        open_trackers(["mlflow"], tmp_path, {})
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingConfigError, match="'tensorboard' opens no run"):
        open_trackers(["tensorboard"], tmp_path / "file", {})


@pytest.mark.parametrize(("given", "rate"), [(None, 1e-4), (5e-4, 5e-4)])
def test_word_embeddings_go_at_the_encoders_rate_unless_told_otherwise(
    model: Classifier, given: float | None, rate: float
) -> None:
    plan = settings(encoder_lr=1e-4, head_lr=1e-2, embedding_lr=given)
    rates = {id(p): group["lr"] for group in make_optimizer(model, plan).param_groups for p in group["params"]}
    found = {name: rates[id(p)] for name, p in model.named_parameters()}
    assert {r for name, r in found.items() if "word_embeddings" in name} == {rate}
    assert {r for name, r in found.items() if name.startswith("output")} == {1e-2}
    assert {r for name, r in found.items() if "attention" in name} == {1e-4}
