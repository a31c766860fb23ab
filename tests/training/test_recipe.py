"""Recipes: one that extends another, words that label, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from training.config import TrainingConfigError, load_config
from training.data.examples import load_training

CONFIGS = Path(__file__).resolve().parents[2] / "training" / "configs"
BASE = """
name = "base"
[heads]
topic = ["travel", "autos"]
mood = ["bad", "good"]
[train]
epochs = 3.0
seed = 5
[[sources]]
file = "base.jsonl"
"""
OWN = """
extends = "base.toml"
[train]
epochs = 1.0
[words.everyday]
travel = ["hotel", "flight 9"]
autos = ["car"]
[[sources]]
file = "posts.jsonl"
heads.topic = { words = "everyday", balance = 1.0 }
heads.mood = {}
"""


def write(folder: Path, own: str) -> Path:
    (folder / "base.toml").write_text(BASE, "utf-8")
    (folder / "own.toml").write_text(own, "utf-8")
    return folder / "own.toml"


def test_a_recipe_takes_from_another_what_it_does_not_say(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, OWN))
    assert (config.name, config.train.epochs, config.train.seed) == ("base", 1.0, 5)
    assert [s.file for s in config.sources] == ["posts.jsonl"]


def test_the_recipes_that_come_along_share_one_scheme() -> None:
    starter, teacher, student = (load_config(CONFIGS / f"{name}.toml") for name in ("starter", "teacher", "student"))
    assert starter.heads == teacher.heads == student.heads
    assert [len(c.pruning.layers) for c in (teacher, student) if c.pruning] == [0, 6]
    assert (teacher.name, student.name) == ("teacher", "starter")


def test_keys_of_the_release_before_work_and_the_log_names_the_new_ones(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "old.toml"
    file.write_text(
        "[train]\nencoder_rate = 0.1\nfresh_rate = 0.2\nembedding_rate = 0.3\ndecay = 'linear'\naccumulation = 4\n"
        "base_share = 0.4\nkeep_heads = 0.5\nruns = 6\ndisturbed = 0.7\ntrim = 0.8\n[shrink]\nlayers = [1]\n"
    )
    with caplog.at_level("WARNING"):
        config = load_config(file)
    train = config.train
    assert (train.encoder_lr, train.head_lr, train.embedding_lr, train.lr_schedule) == (0.1, 0.2, 0.3, "linear")
    assert (train.gradient_accumulation_steps, train.soup_size) == (4, 6)
    assert train.wise_ft_alpha == pytest.approx(0.6), "the former key was the share of the base, alpha is the other"
    assert (train.lwf_weight, train.perturbed_share, train.small_loss_trim) == (0.5, 0.7, 0.8)
    assert config.pruning is not None
    assert config.pruning.layers == [1]
    assert f"{file}: train.runs is now called soup_size" in caplog.text
    assert f"{file}: shrink is now called pruning" in caplog.text
    assert caplog.text.count("is now called") == 11


def test_a_key_under_both_names_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "both.toml"
    file.write_text("[train]\nencoder_rate = 0.1\nencoder_lr = 0.1\n")
    with pytest.raises(TrainingConfigError, match="train.encoder_rate is the former name of encoder_lr"):
        load_config(file)


def test_words_label_what_nobody_labelled(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, OWN))
    texts = ["The HOTEL was clean", "my car", "a car at the hotel", "carpet", "Flight 9 is late"]
    rows = [{"id": str(i), "text": text, "label": "bad"} for i, text in enumerate(texts)]
    (tmp_path / "posts.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    examples = load_training(config, tmp_path)
    assert [e.targets.get("topic") for e in examples] == [(0,), (1,), None, None, (0,)]
    assert {e.targets["mood"] for e in examples} == {(0,)}
    weights = [e.weights["topic"] for e in examples if "topic" in e.targets]
    assert weights == pytest.approx([0.75, 1.5, 0.75]), "the rarer class weighs more, 1 on average"


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ('extends = "../other.toml"', "name of another file in the same folder"),
        ('extends = "own.toml"', "name of another file in the same folder"),
        ('extends = "missing.toml"', "missing.toml"),
        (OWN.replace("travel = [", "sea = ["), "not classes of one head"),
        (OWN.replace('autos = ["car"]', "autos = []"), "no words"),
        (OWN.replace('words = "everyday"', 'words = "other"'), "not in \\[words\\]"),
    ],
)
def test_what_cannot_be_is_refused_by_name(tmp_path: Path, own: str, message: str) -> None:
    with pytest.raises(TrainingConfigError, match=message):
        load_config(write(tmp_path, own))
    chained = write(tmp_path, OWN)
    (tmp_path / "base.toml").write_text('extends = "further.toml"\n' + BASE, "utf-8")
    with pytest.raises(TrainingConfigError, match="extends another recipe itself"):
        load_config(chained)
