"""The model's life on real services: labels in, a retraining, the gate, a swap under load, and the way back."""

from __future__ import annotations

import json
import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from models.aliases import CHAMPION
from models.registry import Registry
from pipeline.domain.post import document_id
from tests.system import System, drained, until
from tests.training.conftest import RECIPE, sentence, toy_encoder, toy_rows, toy_tokenizer, write_jsonl
from training.request import Request
from training.train import train

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]

SCHEME = {"topic": ["news", "talk"], "sentiment": ["negative", "neutral", "positive"]}


def topic(text: str) -> str:
    """A topic that has nothing to do with the sentiment, so that a lesson about one leaves the other alone."""
    return SCHEME["topic"]["phone" in text or "手机" in text]


def rows(n: int, seed: int) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    made = [
        {"text": r["text"], "labels": {"sentiment": r["label"], "topic": topic(r["text"])}} for r in toy_rows(n, seed)
    ]
    plain = ["phone the it was hotel", "service today again new screen", "手机 the 酒店 was it"]
    neutral = [f"{rng.choice(plain)} {rng.randrange(400)} {i}" for i in range(n // 4)]
    return made + [{"text": text, "labels": {"sentiment": "neutral", "topic": topic(text)}} for text in neutral]


def slang(seed: int, n: int) -> list[str]:
    rng = random.Random(seed)
    return [f"{sentence(rng, True)} 7 7 7 {i}" for i in range(n)]


def posts(texts: list[str], tag: str) -> list[dict[str, Any]]:
    return [
        {
            "v": 1,
            "id": f"{tag}{i}",
            "source": "s",
            "text": t,
            "published_at": f"2026-03-0{1 + i % 7}T10:00:00Z",
        }
        for i, t in enumerate(texts)
    ]


@pytest.fixture
def alive(system: System, tmp_path: Path) -> System:
    """A system whose champion is a toy that was really trained, and that knows no irony."""
    toy_encoder().save_pretrained(tmp_path / "base")
    toy_tokenizer().save(str(tmp_path / "base" / "tokenizer.json"))
    recipe = tmp_path / "recipe.toml"
    scheme = "".join(f"{head} = {json.dumps(labels)}\n" for head, labels in SCHEME.items())
    recipe.write_text(f"{RECIPE}\n[heads]\n{scheme}")
    data = write_jsonl(tmp_path / "rows.jsonl", rows(600, 0))
    request = Request(tmp_path / "bundle", str(tmp_path / "base"), "1", recipe, (data,), name="toy")
    train(request, lambda _: None)
    golden = write_jsonl(tmp_path / "golden.jsonl", rows(200, 50))
    system.env |= {
        "OPINIONWATCH_MODEL__REGISTRY": str(tmp_path / "registry"),
        "OPINIONWATCH_MODEL__POLL_S": "0.5",
        "OPINIONWATCH_TRAINING__WORK": str(tmp_path / "work"),
        "OPINIONWATCH_TRAINING__RECIPE": str(recipe),
        "OPINIONWATCH_TRAINING__DATA": json.dumps([str(data)]),
        "OPINIONWATCH_TRAINING__GOLDEN": json.dumps([str(golden)]),
    }
    system.cli("models", "register", str(tmp_path / "bundle"))
    system.cli("models", "promote", "toy-1")
    return system


def accuracy(system: System, texts: list[str], tag: str) -> float:
    """Share of the ironic posts that the index calls negative."""
    system.store.refresh()
    found = [system.store.post(document_id("s", f"{tag}{i}")) for i in range(len(texts))]
    assert all(found)
    return sum(d.labels["sentiment"] == "negative" for d in found if d) / len(texts)


def test_slang_drifts_is_corrected_learned_and_rolled_back(alive: System, tmp_path: Path) -> None:
    alive.run("classify")
    usual, new = [r["text"] for r in rows(400, 60)], slang(1, 600)
    alive.ingest(posts(usual, "u"))
    until(drained(alive, len(usual)), 60)
    before = alive.cli("models", "drift", "--days", "30", "--json")
    alive.ingest(posts(new, "n"))
    until(drained(alive, len(usual) + len(new)), 60)
    after = alive.cli("models", "drift", "--days", "30", "--json")
    drift = [r["distances"]["classes/sentiment"]["value"] for r in (before, after)]
    assert drift[1] > 2 * drift[0]
    wrong = accuracy(alive, new, "n")
    assert wrong < 0.2
    queue = alive.cli("labels", "queue", "--limit", "20", "--days", "30", "--json")
    assert len(queue) == 20
    corrections = [
        {"post": document_id("s", f"n{i}"), "text": t, "labels": {"sentiment": "negative"}, "annotator": "ann"}
        for i, t in enumerate(new[:500])
    ]
    file = write_jsonl(tmp_path / "corrections.jsonl", corrections)
    done = alive.cli("labels", "import", str(file), "--json")
    assert (done["imported"], done["posts_corrected"], done["refused"]) == (500, 500, 0)
    assert alive.cli("labels", "stats", "--json")["heads"]["sentiment"]["model_right"] < 0.2
    trained = alive.cli("retrain", "--min-new-labels", "500", "--json")
    assert trained["outcome"] == "promoted", trained
    fresh = slang(2, 200)
    until(lambda: _labelled_by(alive, trained["challenger"]), 30)
    alive.ingest(posts(fresh, "f"))
    until(lambda: bool(alive.status()["lag"] == 0), 60)
    assert accuracy(alive, fresh, "f") > wrong + 0.6
    assert alive.status()["model"] == trained["challenger"].replace("-", " ", 1)
    started = time.monotonic()
    alive.cli("models", "rollback", "--reason", "a test")
    until(lambda: _labelled_by(alive, "toy-1"), 30)
    assert time.monotonic() - started < 15


def _labelled_by(system: System, version: str) -> bool:
    """Sends one post and looks which model labelled it."""
    tag = f"probe{time.monotonic_ns()}"
    system.ingest(posts([f"the phone {tag}"], tag))
    key = document_id("s", f"{tag}0")

    def there() -> bool:
        system.store.refresh()
        return system.store.post(key) is not None

    until(there, 30)
    found = system.store.post(key)
    assert found
    return f"{found.scored.model_name}-{found.scored.model_version}" == version


def test_swaps_under_load_lose_nothing_and_every_document_names_its_model(alive: System, tmp_path: Path) -> None:
    """Row 24 of the fault table, bounded: the champion changes every two seconds, one of the versions is broken."""
    for version in ("2", "3"):
        copy = tmp_path / f"copy-{version}"
        copy.mkdir()
        for name in ("model.int8.onnx", "tokenizer.json"):
            (copy / name).write_bytes((tmp_path / "bundle" / name).read_bytes())
        manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
        (copy / "manifest.json").write_text(json.dumps({**manifest, "version": version}))
        alive.cli("models", "register", str(copy))
    broken = tmp_path / "registry" / "versions" / "toy-3" / "model.int8.onnx"
    broken.write_bytes(broken.read_bytes()[:-1] + b"!")
    worker = alive.run("classify")
    registry, stop = Registry(str(tmp_path / "registry")), threading.Event()

    def swap() -> None:
        turns = ["toy-2", "toy-3", "toy-1"] * 100
        while not stop.wait(2) and turns:
            registry.point(CHAMPION, turns.pop(0), by="chaos", reason="row 24")

    thread = threading.Thread(target=swap)
    thread.start()
    sent = 0
    for part in range(12):
        texts = [f"{r['text']} {part} {i}" for i, r in enumerate(toy_rows(400, seed=part))]
        alive.ingest(posts(texts, f"p{part}-"))
        sent += len(texts)
    until(drained(alive, sent), 90)
    stop.set()
    thread.join()
    alive.store.refresh()
    assert len(list(alive.store.ids())) == sent == alive.status()["indexed"]
    models = {
        f"{d.scored.model_name}-{d.scored.model_version}"
        for i in range(0, sent, 50)
        if (d := alive.store.post(document_id("s", f"p{i // 400}-{i % 400}")))
    }
    assert models == {"toy-1", "toy-2"}
    assert worker.stop() == 0
