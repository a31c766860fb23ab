"""A student learns what its teachers say: of rows with labels, without, and in a network of fewer layers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models import load_bundle
from tests.training.conftest import RECIPE, toy_rows, write_jsonl
from training.config import TrainingConfigError
from training.data.examples import Example
from training.data.tensors import soft_targets
from training.loop.losses import distillation_loss, masked_set_loss
from training.request import Request
from training.train import train

TEACHER = RECIPE + '[heads]\nsentiment = ["negative", "positive"]\n'


def test_the_loss_by_hand() -> None:
    logits, teacher = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.25, 0.75]])
    student = logits.softmax(1)
    by_hand = float((teacher * (teacher / student).log()).sum())
    assert float(distillation_loss({"h": logits}, {"h": teacher}, 1.0)) == pytest.approx(by_hand, rel=1e-5)
    assert float(distillation_loss({"h": logits}, {"h": student}, 2.0)) == pytest.approx(0, abs=1e-6)
    soft = (teacher.log() / 2).softmax(1)
    cooler = float((soft * (soft / (logits / 2).softmax(1)).log()).sum())
    assert float(distillation_loss({"h": logits}, {"h": teacher}, 2.0)) == pytest.approx(4 * cooler, rel=1e-5)


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.integers(0, 1000))
def test_a_row_without_a_label_weighs_nothing(labelled: list[bool], seed: int) -> None:
    """What is computed along for it changes neither the loss nor the gradient."""
    torch.manual_seed(seed)
    logits = torch.randn(len(labelled), 3, requires_grad=True)
    allowed = torch.tensor([[yes, False, False] for yes in labelled])
    weights = torch.rand(len(labelled)) + 0.5
    loss = masked_set_loss({"h": logits}, {"h": allowed}, {"h": weights}, 0.1)
    loss.backward()
    rows = [i for i, yes in enumerate(labelled) if yes]
    each = -0.9 * logits.log_softmax(1)[:, 0] - 0.1 * logits.log_softmax(1).mean(1)
    wanted = float((each * weights)[rows].sum().detach()) / max(1, len(rows))
    assert float(loss.detach()) == pytest.approx(wanted, rel=1e-5)
    assert logits.grad is not None
    assert all(bool(logits.grad[i].any()) == yes for i, yes in enumerate(labelled))


def test_soft_labels_go_to_their_heads() -> None:
    rows = [Example("a", "s", {}, soft=np.array([0.25, 0.75, 1.0, 0.0, 0.0], np.float16))]
    found = soft_targets(rows, {"two": 2, "three": 3})
    assert [found[h].tolist() for h in ("two", "three")] == [[[0.25, 0.75]], [[1.0, 0.0, 0.0]]]
    assert soft_targets([*rows, Example("b", "s", {})], {"two": 2, "three": 3}) == {}, "a batch has them or has not"


@pytest.fixture(scope="module")
def teacher(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    (folder / "recipe.toml").write_text(TEACHER)
    rows = write_jsonl(folder / "rows.jsonl", toy_rows(600))
    request = Request(folder / "bundle", str(base_folder), "1", folder / "recipe.toml", (rows,), head="sentiment")
    train(request, lambda _: None)
    return folder / "bundle"


@pytest.mark.long
def test_a_student_of_half_the_layers_learns_from_texts_without_labels(teacher: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "few.jsonl", toy_rows(24, seed=1))
    scored = toy_rows(200, seed=3)
    texts = [*toy_rows(600, seed=2), *scored[:9]]
    write_jsonl(tmp_path / "texts.jsonl", [{"text": row["text"]} for row in texts])
    write_jsonl(tmp_path / "test.jsonl", scored)
    recipe = tmp_path / "student.toml"
    recipe.write_text(
        'unlabelled = ["texts.jsonl"]\n'
        + TEACHER.replace("track = []", "track = []\nteacher_share = 0.9")
        + '[pruning]\nlayers = [0]\n[[sources]]\nfile = "few.jsonl"\nheads.sentiment = {}\n'
        + '[[evaluation]]\nfile = "test.jsonl"\nheads.sentiment = {}\n'
    )
    lines: list[str] = []
    request = Request(tmp_path / "out", str(teacher), "1", recipe, data_dir=tmp_path, teachers=(teacher,), for_gpu=True)
    report = train(request, lines.append)
    assert "soft labels of 624 rows, by bundle" in lines, "what is scored is not learned"
    assert report["after"]["test/sentiment"]["accuracy"] > 0.9
    assert report["parameters"] < json.loads((teacher / "report.json").read_text())["parameters"]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["training"]["teachers"] == 1
    assert manifest["gpu"]["precision"] == "fp16-packed"
    assert (
        load_bundle(tmp_path / "out", device="cpu").predict(["it was awful broken"])[0].label("sentiment") == "negative"
    )


@pytest.mark.long
@pytest.mark.parametrize(
    ("labels", "message"),
    [('["positive", "negative"]', "head 'sentiment' has negative, positive"), (None, "no bundle|manifest")],
)
def test_a_teacher_that_cannot_teach_is_refused_before_training(
    teacher: Path, base_folder: Path, tmp_path: Path, labels: str | None, message: str
) -> None:
    recipe = tmp_path / "recipe.toml"
    scheme = labels or '["negative", "positive"]'
    recipe.write_text(RECIPE + f"[heads]\nsentiment = {scheme}\n")
    rows = write_jsonl(tmp_path / "rows.jsonl", toy_rows(100))
    teachers = (teacher if labels else tmp_path,)
    request = Request(tmp_path / "out", str(base_folder), "1", recipe, (rows,), head="sentiment", teachers=teachers)
    with pytest.raises(TrainingConfigError, match=message):
        train(request, lambda _: None)
    assert not (tmp_path / "out.work").exists()
