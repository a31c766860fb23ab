"""From a file to a bundle, and the loop: labels, retraining, gate, promotion, rollback. All of it really trains."""

from __future__ import annotations

import json
import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from typer.testing import CliRunner

from models import load_bundle
from models.aliases import CHAMPION
from models.files.annotation_files import PEOPLE, REHEARSAL
from models.registry import Registry
from pipeline.cli.main import app
from pipeline.domain.annotation import Annotation
from pipeline.store.sqlite.store import SqliteStore
from tests.builders import START, scored
from tests.training.conftest import RECIPE, sentence, settings, toy_rows, toy_tokenizer, write_jsonl
from training.bundle.export import export_onnx, fuse, open_engine
from training.config import Hyperparameters, TrainingConfigError
from training.data.examples import Example
from training.loop.forgetting import with_base_labels
from training.network.encoder import Classifier
from training.network.from_bundle import from_bundle
from training.network.predict import predict
from training.request import Request
from training.train import train

pytestmark = pytest.mark.long


def run(*arguments: str, code: int = 0) -> Any:
    done = CliRunner().invoke(app, arguments)
    if isinstance(done.exception, Exception) and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return json.loads(done.stdout) if "--json" in arguments else done.stdout


@pytest.fixture(scope="module")
def bundle(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first")
    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE)
    rows = write_jsonl(folder / "rows.jsonl", toy_rows(600))
    out = folder / "bundle"
    lines: list[str] = []
    request = Request(out, str(base_folder), "1", recipe, (rows,), head="sentiment", name="toy")
    report = train(request, lines.append)
    assert "600 of 600 rows used" in lines[0]
    assert report["after"]["test/sentiment"]["accuracy"] > 0.9
    return out


def test_a_file_of_two_columns_becomes_a_bundle_with_a_report(bundle: Path) -> None:
    engine = load_bundle(bundle, device="cpu")
    assert [p.label("sentiment") for p in engine.predict(["it was good great", "it was awful broken"])] == [
        "positive", "negative",
    ]  # fmt: skip
    page = (bundle / "report.html").read_text()
    assert "macro f1" in page
    assert "data:image/png;base64," in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    report = json.loads((bundle / "report.json").read_text())
    assert set(report["robustness"]["sentiment"]) == {"none", "typos", "look-alikes", "full width", "emoji"}
    assert engine.reference is not None
    assert engine.reference.rows > 30


def test_the_same_scores_come_from_evaluate(bundle: Path, tmp_path: Path) -> None:
    rows = write_jsonl(tmp_path / "new.jsonl", toy_rows(200, seed=77))
    found = run("evaluate", str(bundle), "--data", str(rows), "--head", "sentiment", "--json")["data/sentiment"]
    assert found["rows"] == 200
    assert found["interval"]["accuracy"][0] <= found["accuracy"] <= 1
    assert sum(map(sum, found["confusion"])) == 200


@pytest.mark.parametrize(("precision", "within"), [("fp32", 1e-4), ("fused", 1e-4), ("fp16", 5e-3), ("int8", 0.1)])
def test_onnx_answers_as_torch_does(model: Classifier, tmp_path: Path, precision: str, within: float) -> None:
    from tests.training.conftest import HEADS, run_in, toy_examples
    from training.bundle.quantize import quantize_static
    from training.data.tensors import encode
    from training.loop.finetune import fine_tune

    fine_tune(model, toy_tokenizer(), toy_examples(300), run_in(tmp_path, settings()))
    texts = [r["text"] for r in toy_rows(100, seed=5)]
    expected = predict(model, toy_tokenizer(), texts, 32)["sentiment"].numpy()
    exported = export_onnx(model, tmp_path)
    if precision == "int8":
        rows = encode(toy_tokenizer(), [r["text"] for r in toy_rows(200, seed=8)], 32)
        quantize_static(exported, exported := tmp_path / "small.onnx", rows)
    elif precision != "fp32":
        exported = fuse(exported, model, half=precision == "fp16")
    engine = open_engine(exported, toy_tokenizer().to_str(), HEADS, {"sentiment": 1.0}, 32, name="toy", version="1")
    got = np.array([list(p.probabilities("sentiment").values()) for p in engine.predict(texts)])
    assert np.abs(got - expected).max() < within
    assert (got.argmax(1) == expected.argmax(1)).mean() >= 0.99


def test_training_goes_on_from_a_bundle_and_keeps_its_other_heads(bundle: Path, tmp_path: Path) -> None:
    heads = {"mood": ["calm", "loud"], "sentiment": ["positive", "negative"]}
    model, tokenizer_json = from_bundle(bundle, heads, 0.0)
    texts = [r["text"] for r in toy_rows(50, seed=6)]
    found = predict(model, Tokenizer.from_str(tokenizer_json), texts, 32)["sentiment"]
    served = [p.label("sentiment") for p in load_bundle(bundle, device="cpu").predict(texts)]
    assert [heads["sentiment"][int(i)] for i in found.argmax(1)] == served, "classes keep their weights by name"
    assert torch.isfinite(model.output.weight).all()


def test_rehearsal_rows_are_soft_labels_with_what_people_said_in_their_place(bundle: Path) -> None:
    heads = {"sentiment": ["negative", "positive"]}
    model, tokenizer_json = from_bundle(bundle, heads, 0.0)
    rows = [Example("it was good great", who, {"sentiment": (0,)}) for who in (PEOPLE, REHEARSAL)]
    settings = Hyperparameters(max_tokens=32)
    people, rehearsal = with_base_labels(model, Tokenizer.from_str(tokenizer_json), rows, str(bundle), settings)
    assert people.soft is not None
    assert rehearsal.soft is not None
    assert people.soft.tolist() == [1.0, 0.0]
    assert rehearsal.soft[1] > 0.9, "the base's own word"
    assert not people.targets
    hard = settings.model_copy(update={"lwf_weight": 0.0})
    assert with_base_labels(model, Tokenizer.from_str(tokenizer_json), rows, str(bundle), hard) == rows
    alone = with_base_labels(model, Tokenizer.from_str(tokenizer_json), rows[:1], str(bundle), settings)
    assert alone == rows[:1], "without rehearsal people's labels are hard"


@pytest.mark.parametrize(
    ("config", "message"),
    [('{"model_type": "no-such-model"}', "transformers cannot open it"), (None, "neither a bundle")],
)
def test_a_base_that_is_no_model_is_refused(tmp_path: Path, config: str | None, message: str) -> None:
    rows, base = write_jsonl(tmp_path / "rows.jsonl", toy_rows(100)), tmp_path / "base"
    base.mkdir()
    if config:
        (base / "config.json").write_text(config)
    with pytest.raises(TrainingConfigError, match=message):
        train(Request(tmp_path / "out", str(base), "1", data=(rows,)), lambda _: None)


@pytest.fixture
def system(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SqliteStore:
    """A registry whose champion is `toy-1`, a store with posts, and a golden set."""
    recipe, golden = tmp_path / "recipe.toml", tmp_path / "golden.jsonl"
    recipe.write_text(RECIPE)
    write_jsonl(golden, [{"text": r["text"], "labels": {"sentiment": r["label"]}} for r in toy_rows(200, seed=50)])
    for name, value in {
        "MODEL__REGISTRY": str(tmp_path / "registry"),
        "STORE__URL": f"sqlite:///{tmp_path}/store.sqlite",
        "TRAINING__WORK": str(tmp_path / "work"),
        "TRAINING__RECIPE": str(recipe),
        "TRAINING__GOLDEN": json.dumps([str(golden)]),
    }.items():
        monkeypatch.setenv(f"OPINIONWATCH_{name}", value)
    run("setup")
    run("models", "register", str(bundle))
    run("models", "promote", "toy-1")
    store = SqliteStore(tmp_path / "store.sqlite")
    posts = [scored(i, text=r["text"], sentiment=r["label"], topic="") for i, r in enumerate(toy_rows(600, seed=60))]
    store.index(posts, START, 1)
    return store


def slang(n: int, seed: int) -> list[str]:
    """Irony: good words, and a mark that turns them round, which the champion has never seen as one."""
    rng = random.Random(seed)
    return [f"{sentence(rng, True)} 7 7 7" for _ in range(n)]


def label(store: SqliteStore, texts: list[str], said: str, who: str = "ann") -> None:
    store.put_annotations(
        [Annotation(f"p{who}{i}", "sentiment", said, who, START + timedelta(seconds=i), t) for i, t in enumerate(texts)]
    )


def test_the_loop_learns_new_slang_promotes_and_rolls_back(system: SqliteStore, tmp_path: Path) -> None:
    assert run("retrain", "--min-new-labels", "50", "--json")["outcome"] == "nothing new"
    label(system, slang(300, seed=1), "negative")
    done = run("retrain", "--min-new-labels", "50", "--json")
    assert done["outcome"] == "promoted", done
    assert done["accuracy"]["newest/sentiment"]["after"] > done["accuracy"]["newest/sentiment"]["before"] + 0.2
    registry = Registry(str(tmp_path / "registry"))
    assert registry.alias(CHAMPION) == done["challenger"]
    assert done["relabelled"] == 600, "the baseline moves with the model"
    versions = {d.scored.model_version for d in system.documents(START, START + timedelta(days=1))}
    assert versions == {done["challenger"].removeprefix("toy-")}
    served = load_bundle(registry.fetch(done["challenger"]), device="cpu").predict(slang(100, seed=2))
    assert np.mean([p.label("sentiment") == "negative" for p in served]) > 0.9
    assert run("retrain", "--min-new-labels", "50", "--json")["outcome"] == "nothing new", "done once"
    run("models", "rollback")
    assert registry.alias(CHAMPION) == "toy-1"
    assert [e["action"] for e in registry.audit()][-2:] == ["point", "rollback"]
    assert run("models", "relabel", "--json") == {"model": "toy-1", "posts": 600, "relabelled": 600}
    assert {d.scored.model_version for d in system.documents(START, START + timedelta(days=1))} == {"1"}


def test_a_poisoned_batch_is_refused_and_the_champion_stays(system: SqliteStore, tmp_path: Path) -> None:
    rows = toy_rows(400, seed=70)
    swapped = {"positive": "negative", "negative": "positive"}
    for said in swapped:
        label(system, [r["text"] for r in rows if r["label"] == swapped[said]], said, who=said)
    done = run("retrain", "--min-new-labels", "50", "--json")
    assert done["outcome"] == "refused", done
    assert "golden/sentiment" in done["reason"]
    assert Path(done["verdict"]).exists()
    assert Registry(str(tmp_path / "registry")).alias(CHAMPION) == "toy-1"
    for who in swapped:
        assert run("labels", "drop", "--annotator", who, "--yes", "--json")["dropped"] == 200
    label(system, slang(300, seed=1), "negative")
    done = run("retrain", "--min-new-labels", "300", "--json")
    assert done["outcome"] == "promoted", done


def test_a_retraining_that_is_killed_goes_on_with_the_same_rows(
    system: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    label(system, slang(300, seed=1), "negative")
    with monkeypatch.context() as broken:
        broken.setattr("training.bundle.bundling.export_onnx", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        CliRunner().invoke(app, ["retrain", "--min-new-labels", "50"])
    assert Registry(str(tmp_path / "registry")).alias(CHAMPION) == "toy-1"
    before = json.loads((tmp_path / "work" / "run.json").read_text())
    label(system, slang(50, seed=8), "negative", who="late")
    done = run("retrain", "--min-new-labels", "50", "--json")
    assert done["outcome"] == "promoted"
    assert done["challenger"].endswith(before["version"])
    assert run("retrain", "--min-new-labels", "50", "--json")["outcome"] == "promoted", "the late labels count next"


def test_drift_is_told_beside_the_reference(system: SqliteStore) -> None:
    found = run("models", "drift", "--days", "30", "--json")
    assert found["posts"] == 600
    assert found["distances"]["classes/sentiment"]["value"] < 0.02
    assert found["expected_accuracy"]["sentiment"]["now"] > 0.8


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", ["intents", "interests"])
def test_the_documented_examples_train_from_the_starter(name: str, tmp_path: Path) -> None:
    examples = Path(__file__).resolve().parents[2] / "training" / "examples"
    out = tmp_path / name
    arguments = ["--config", str(examples / f"{name}.toml"), "--data", str(examples / f"{name}.jsonl")]
    report = run("train", *arguments, "--out", str(out), "--json")
    (found,) = report["after"].values()
    assert found["accuracy"] > 0.8
    assert load_bundle(out, device="cpu").name == name


def test_a_share_of_the_base_stays_in_the_weights(bundle: Path, tmp_path: Path) -> None:
    swapped = {"positive": "negative", "negative": "positive"}
    rows = write_jsonl(tmp_path / "rows.jsonl", [{**r, "label": swapped[r["label"]]} for r in toy_rows(400, seed=3)])
    said = {}
    for share in (0.0, 0.99):
        recipe = tmp_path / f"recipe{share}.toml"
        recipe.write_text(f"{RECIPE}\nwise_ft_alpha = {1 - share}\n")
        out = tmp_path / str(share)
        train(Request(out, str(bundle), "2", recipe, (rows,), head="sentiment"), lambda _: None)
        said[share] = load_bundle(out, device="cpu").predict(["it was good great"])[0].label("sentiment")
    assert said == {0.0: "negative", 0.99: "positive"}
