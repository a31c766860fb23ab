"""The head `toward`: learned at mentions, exported, judged, kept by a retraining, and blind to names."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from tokenizers import Tokenizer

from models import load_bundle
from models.bundle import read_manifest
from models.heads import TOWARD, TOWARD_LABELS
from tests.training.conftest import BAD, GOOD, RECIPE, run_in, settings, toy_encoder, toy_tokenizer, write_jsonl
from training.bundle.export import export_onnx, fuse
from training.bundle.quantize import quantize_static
from training.config import MentionColumns, Source, Target, TrainingConfig, TrainingConfigError, TrainingDataError
from training.data.examples import Example, Mention, load_source, merged_mentions
from training.data.mentions import any_place
from training.data.renaming import Renamer
from training.evaluation.comparison import compare
from training.evaluation.evaluate import BY_SENTIMENT
from training.evaluation.gate import Policy
from training.evaluation.scores import macro_f1
from training.loop.finetune import fine_tune
from training.loop.forgetting import with_base_labels
from training.network.encoder import Classifier
from training.network.from_bundle import from_bundle
from training.network.predict import predict_toward
from training.request import Request
from training.train import evaluate, export, export_for_gpu, train

HEADS = {"sentiment": list(TOWARD_LABELS), TOWARD: list(TOWARD_LABELS)}
NAMES = ["hotel", "phone", "screen", "service", "手机", "酒店"]
WORDS = [BAD, ["today", "again"], GOOD]


def targeted_rows(n: int, seed: int = 0) -> list[dict[str, Any]]:
    """Texts with two names, each followed by a word that is bad, plain or good: the label toward the name."""
    rng = random.Random(seed)
    rows = []
    for _ in range(n):
        text, found = str(rng.randrange(400)), []
        for name in rng.sample(NAMES, 2):
            label = rng.randrange(3)
            found.append((name, len(text) + 1, label))
            text += f" {name} {rng.choice(WORDS[label])} {rng.randrange(400)} {rng.randrange(400)}"
        rows += [
            {"text": text, "target": name, "from": at, "to": at + len(name), "label": TOWARD_LABELS[label]}
            for name, at, label in found
        ]
    return rows


def sentiment_rows(n: int, seed: int = 0) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    rows = []
    for i in range(n):
        words = [str(rng.randrange(400)) for _ in range(5)] + rng.sample(WORDS[i % 3], 2)
        rng.shuffle(words)
        rows.append({"text": " ".join(words), "sentiment": TOWARD_LABELS[i % 3]})
    return rows


def examples_of(rows: list[dict[str, Any]]) -> list[Example]:
    return merged_mentions(
        [
            Example(r["text"], "toy", {}, mentions=(Mention(r["from"], r["to"], (TOWARD_LABELS.index(r["label"]),)),))
            for r in rows
        ]
    )


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Two threads of a small network wait for each other more than they compute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.train.usable_cores", lambda: 1)
        yield


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, base_folder: Path) -> Path:
    """A bundle that was trained on one file with rows about targets and rows about whole texts."""
    folder = tmp_path_factory.mktemp("toward")
    rows = [*targeted_rows(400), *sentiment_rows(150)]
    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE.replace("epochs = 4.0", "epochs = 5.0"))
    data = write_jsonl(folder / "rows.jsonl", rows)
    train(Request(folder / "bundle", str(base_folder), "1", recipe, (data,), name="toy"), lambda _: None)
    return folder / "bundle"


def test_a_file_with_targets_trains_a_bundle_that_tells_the_subjects_of_one_text_apart(
    bundle: Path, tmp_path: Path
) -> None:
    manifest = read_manifest(bundle)
    assert [h.name for h in manifest.heads][-1] == TOWARD
    assert all(golden.toward for golden in manifest.golden)
    text = "7 hotel bad 8 9 phone good 1"
    found = load_bundle(bundle, device="cpu").predict([text], [{"Hotel": [(2, 7)], "Phone": [(16, 21)]}])[0].toward
    assert (found["Hotel"].label, found["Phone"].label) == ("negative", "positive")
    data = write_jsonl(tmp_path / "test.jsonl", targeted_rows(200, seed=5))
    from models.bundle import read_bundle

    scored = evaluate(read_bundle(bundle), [data], "label", None, None)
    assert scored["data/toward"]["macro_f1"] > 0.9
    assert scored["data/toward"]["rows"] == 400
    assert scored["data/toward"]["wrong_negatives"] < 0.1
    assert scored[f"data/{BY_SENTIMENT}"]["macro_f1"] < 0.75, "one sentiment cannot be right about two subjects"


def test_a_training_from_the_bundle_starts_with_the_weights_of_the_head(bundle: Path) -> None:
    model, tokenizer_json = from_bundle(bundle, HEADS, 0.0)
    rows = examples_of(targeted_rows(100, seed=3))
    judged, found = predict_toward(model, Tokenizer.from_str(tokenizer_json), rows, 32)
    assert macro_f1(found, judged, TOWARD) > 0.9
    without, _ = from_bundle(bundle, {"sentiment": list(TOWARD_LABELS)}, 0.0)
    assert without.toward is None


def test_a_retraining_without_targets_keeps_the_head_and_the_gate_compares_it(
    bundle: Path, base_folder: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.replace("epochs = 4.0", "epochs = 1.0"))
    data = write_jsonl(tmp_path / "rows.jsonl", sentiment_rows(400, seed=9))
    train(Request(tmp_path / "new", str(bundle), "2", recipe, (data,), name="toy"), lambda _: None)
    model, tokenizer_json = from_bundle(tmp_path / "new", HEADS, 0.0)
    rows = examples_of(targeted_rows(100, seed=3))
    judged, found = predict_toward(model, Tokenizer.from_str(tokenizer_json), rows, 32)
    assert macro_f1(found, judged, TOWARD) > 0.85
    golden = write_jsonl(tmp_path / "golden.jsonl", targeted_rows(60, seed=8))
    verdict = compare(bundle, tmp_path / "new", data, [golden], Policy(), None)
    assert "golden/toward" in {c["name"] for c in verdict["checks"]}
    agreement = compare(bundle, tmp_path / "new", data, [], Policy(), None)
    assert "golden/toward" in {c["name"] for c in agreement["checks"]}


def test_the_base_says_at_a_random_place_what_the_retrained_head_must_go_on_saying(bundle: Path) -> None:
    model, tokenizer_json = from_bundle(bundle, HEADS, 0.0)
    rows = [Example(r["text"], "toy", {"sentiment": (0,)}) for r in sentiment_rows(6)]
    found = with_base_labels(model, Tokenizer.from_str(tokenizer_json), rows, str(bundle), settings())
    assert all(len(e.mentions) == 1 and sum(e.mentions[0].soft) == pytest.approx(1, abs=1e-3) for e in found)
    assert (
        with_base_labels(model, Tokenizer.from_str(tokenizer_json), rows, str(bundle), settings(lwf_weight=0)) == rows
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "frozen"},
        {"method": "lora"},
        {"method": "gradual"},
        {"loss": "gce", "small_loss_trim": 0.1},
        {"loss": "focal", "resample": 1.0},
        {"mixup": 0.2},
        {"adversarial": 0.5, "gradient_accumulation_steps": 2},
        {"embedding_lr": 0.0, "token_dropout": 0.1, "span_swap": 0.5},
    ],
    ids=",".join,
)
def test_every_method_trains_the_head(changes: dict[str, Any], tmp_path: Path) -> None:
    model = Classifier(toy_encoder(), HEADS, 0.0)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    fine_tune(model, toy_tokenizer(), examples_of(targeted_rows(60)), run_in(tmp_path, settings(epochs=1.0, **changes)))
    after = model.state_dict()
    assert not torch.equal(before["toward.hidden.weight"], after["toward.hidden.weight"])
    words = "encoder.embeddings.word_embeddings.weight"
    kept = changes.get("embedding_lr") == 0 or changes.get("method") in {"frozen", "lora"}
    assert torch.equal(before[words], after[words]) == kept


def test_graphs_of_all_precisions_read_the_mentions(tmp_path: Path) -> None:
    model = Classifier(toy_encoder(), HEADS, 0.0).eval()
    plain = export_onnx(model, tmp_path)
    rows = [[2, *range(5, 15 + i), 3] for i in range(20)]
    quantize_static(plain, small := tmp_path / "small.onnx", rows)
    ids = np.array([[2, 5, 6, 7, 8, 3], [2, 9, 10, 3, 0, 0], [2, 11, 12, 13, 3, 0]], np.int64)
    feed = {
        "input_ids": ids,
        "attention_mask": (ids > 0).astype(np.int64),
        "mention_row": np.array([0, 0, 2, 1], np.int64),
        "mention_start": np.array([1, 3, 1, 2], np.int64),
        "mention_end": np.array([2, 5, 4, 3], np.int64),
    }
    with torch.inference_mode():
        logits, toward = (t.numpy() for t in model(*map(torch.from_numpy, feed.values())))
    alone = {name: value[:1] if name.startswith("mention") else value for name, value in feed.items()}
    for graph, most in ((plain, 1e-4), (fuse(plain, model), 1e-4), (small, 0.1)):
        session = ort.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
        found = session.run(["logits", TOWARD], feed)
        assert np.abs(found[0] - logits).max() < most
        assert np.abs(found[1] - toward).max() < most
        assert session.run([TOWARD], alone)[0] == pytest.approx(found[1][:1], abs=1e-4), "mentions do not meet"


def test_the_bundle_exports_for_a_gpu_and_in_other_precisions(bundle: Path, tmp_path: Path) -> None:
    exact = load_bundle(export(bundle, tmp_path / "fp32"), device="cpu")
    assert exact.toward is not None
    assert json.loads((export_for_gpu(bundle, tmp_path / "gpu") / "manifest.json").read_text())["gpu"]["golden"]


def test_other_names_in_a_row_keep_its_labels() -> None:
    text = "Nova beats Kestrel, and Nova knows"
    mentions = (Mention(0, 4, (2,), name=True), Mention(11, 18, (0,), name=True), Mention(24, 28, (2,), name=True))
    row, rng = Example(text, "toy", {}, mentions=mentions), random.Random(3)
    other = Renamer([row], 1.0)(row, rng)
    first, second, third = (other.text[m.start : m.end] for m in other.mentions)
    assert first == third != second
    assert other.text == f"{first} beats {second}, and {third} knows"
    assert [m.classes for m in other.mentions] == [(2,), (0,), (2,)]
    assert Renamer([row], 0.0)(row, rng) is row
    plain = Example(text, "toy", {}, mentions=(Mention(0, 4, (2,)),))
    assert Renamer([row], 1.0)(plain, rng) is plain, "not a name"


@pytest.mark.parametrize("text", ["one", "两个汉字和很多没有空格的文字在一起", "  a  bc "])
def test_any_place_is_inside_the_text_and_not_blank(text: str) -> None:
    place = any_place(text, random.Random(1))
    assert text[place.start : place.end].strip()


def test_a_source_merges_the_targets_of_a_text_and_names_the_row_that_is_wrong(tmp_path: Path) -> None:
    config = TrainingConfig(heads=HEADS)
    source = Source(file="rows.jsonl", heads={TOWARD: Target()})
    rows: list[dict[str, Any]] = [
        {"text": "hotel bad phone good", "target": "phone", "from": 10, "to": 15, "label": "positive"},
        {"text": "hotel bad phone good", "target": "HOTEL", "label": "negative"},
    ]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    (example,) = load_source(config, source, tmp_path, evaluation=False)
    assert [(m.start, m.end, m.classes) for m in example.mentions] == [(0, 5, (0,)), (10, 15, (2,))]
    for wrong, words in (
        ({"from": 10, "to": 99}, r"row 3: fields 'from' and 'to': characters 10 to 99 are not inside the text"),
        ({"from": 0, "to": 5}, r"row 3: field 'target': characters 0 to 5 of the text are 'hotel', not 'phone'"),
        ({"from": 3}, r"row 3: field 'to' is missing"),
        ({"from": "x", "to": 5}, r"row 3: field 'from' is not the number of a character"),
        ({"target": "screen"}, r"row 3: field 'target': the text does not contain 'screen'"),
        ({"target": 7}, r"row 3: field 'target' is not a text"),
    ):
        bad = {"text": "hotel bad phone good", "target": "phone", "label": "positive", **wrong}
        write_jsonl(tmp_path / "rows.jsonl", [*rows, bad])
        with pytest.raises(TrainingDataError, match=words):
            load_source(config, source, tmp_path, evaluation=False)
    skipping = source.model_copy(update={"mention": MentionColumns(absent="skip")})
    write_jsonl(tmp_path / "rows.jsonl", [*rows, {"text": "it was fine", "target": "phone", "label": "positive"}])
    assert len(load_source(config, skipping, tmp_path, evaluation=False)) == 1


def test_other_classes_of_the_head_are_refused() -> None:
    with pytest.raises(ValueError, match="its labels must be"):
        TrainingConfig(heads={TOWARD: ["good", "bad"]})
    with pytest.raises(TrainingConfigError, match="it needs negative, neutral, positive"):
        Classifier(toy_encoder(), {TOWARD: ["negative", "positive"]}, 0.0)
