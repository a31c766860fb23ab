"""Versions, aliases, audit and rollback, in a folder and in an object store; engines exchanged under work."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from models.aliases import CHAMPION
from models.bundle import Bundle, BundleError, load_bundle
from models.engine import Encoded, OnnxEngine
from models.heads import Prediction
from models.hotswap import Hooks, HotSwap
from models.mentions import Mentions
from models.registry import Registry, RegistryError
from models.shadow import Shadow, shadowed
from pipeline.classify.model_provider import bundle_in_service
from pipeline.domain.errors import Fatal
from pipeline.settings import STARTER, ModelSettings
from tests.builders import DummyClassifier


def bundle(folder: Path, version: str) -> Path:
    made = folder / f"bundle-{version}"
    shutil.copytree(STARTER, made)
    manifest = json.loads((made / "manifest.json").read_text())
    (made / "manifest.json").write_text(json.dumps({**manifest, "version": version}))
    return made


@pytest.fixture(params=["folder", "object store"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Registry:
    url = str(tmp_path / "registry") if request.param == "folder" else f"memory://{uuid.uuid4().hex}"
    return Registry(url, cache=tmp_path / "cache")


def test_the_life_of_two_versions(registry: Registry, tmp_path: Path) -> None:
    assert registry.entries() == []
    assert registry.alias(CHAMPION) is None
    one = registry.register(bundle(tmp_path, "1"), by="ann")
    assert registry.register(tmp_path / "bundle-1", by="ann") == one, "the same bundle is one entry"
    two = registry.register(bundle(tmp_path, "2"), by="ann")
    assert [(e.id, e.sequence) for e in registry.entries()] == [("starter-1", 1), ("starter-2", 2)]
    with pytest.raises(RegistryError, match="no earlier champion"):
        registry.rollback(by="ann", reason="-")
    registry.point(CHAMPION, one.id, by="ann", reason="first")
    registry.point(CHAMPION, two.id, by="ann", reason="better")
    registry.point(CHAMPION, two.id, by="ann", reason="again")
    assert registry.aliases() == {CHAMPION: two.id}
    assert registry.verify(two.id).manifest.version == "2"
    assert (registry.fetch(two.id) / "manifest.json").exists()
    assert registry.rollback(by="bob", reason="worse") == one.id
    assert [(e["action"], e["by"]) for e in registry.audit()] == [
        ("register", "ann"), ("register", "ann"), ("point", "ann"), ("point", "ann"), ("rollback", "bob"),
    ]  # fmt: skip


def test_a_version_is_never_overwritten_and_a_bad_bundle_never_registered(registry: Registry, tmp_path: Path) -> None:
    folder = bundle(tmp_path, "1")
    registry.register(folder, by="ann")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "metrics": {"x": 1}}))
    with pytest.raises(RegistryError, match="another version"):
        registry.register(folder, by="ann")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(BundleError, match="tokenizer"):
        registry.register(folder, by="ann")
    for name in ("starter-9", "../x"):
        with pytest.raises(RegistryError, match="models list"):
            registry.point(CHAMPION, name, by="ann", reason="-")


@pytest.mark.parametrize(
    "content", ["[" * 100_000, "[]", '"x"', "null", '{"champion": "x-1"}', '{"champion": [1]}', '{"champion": 5}', ""]
)
def test_aliases_that_are_not_as_the_registry_writes_them_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "aliases.json").write_text(content)
    with pytest.raises(RegistryError, match=r"aliases\.json.*restore the file"):
        Registry(str(tmp_path)).alias(CHAMPION)


def test_a_url_that_names_an_archive_that_is_none_is_refused() -> None:
    with pytest.raises(RegistryError, match="zip://x"):
        Registry("zip://x")


def test_what_serves_is_what_a_training_starts_from(tmp_path: Path) -> None:
    assert bundle_in_service(ModelSettings()) == Path(STARTER)
    settings = ModelSettings(registry=str(tmp_path / "registry"))
    with pytest.raises(Fatal, match="no champion"):
        bundle_in_service(settings)
    registry = Registry(settings.registry)
    one = registry.register(bundle(tmp_path, "1"), by="ann")
    registry.point(CHAMPION, one.id, by="ann", reason="first")
    assert json.loads((bundle_in_service(settings) / "manifest.json").read_text())["version"] == "1"


def test_an_engine_is_exchanged_between_batches_and_comes_back(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path / "registry"))
    for version in ("1", "2"):
        registry.register(bundle(tmp_path, version), by="ann")
    with pytest.raises(RegistryError, match="no champion"):
        HotSwap(registry, CHAMPION)
    registry.point(CHAMPION, "starter-1", by="ann", reason="-")
    taken: list[str] = []
    engine = HotSwap(
        registry, CHAMPION, Hooks(load=partial(load_bundle, device="cpu"), on_swap=lambda e: taken.append(e.version))
    )
    assert engine.predict(["good"])[0].model_version == "1"
    registry.point(CHAMPION, "starter-2", by="ann", reason="-")
    engine.poll()
    assert engine.version == "1", "nothing changes but at a batch"
    assert engine.predict(["good"])[0].model_version == "2"
    registry.rollback(by="ann", reason="-")
    shutil.rmtree(tmp_path / "registry" / "versions" / "starter-1")
    engine.poll()
    assert engine.predict(["good"])[0].model_version == "1", "the engine before is kept: a rollback loads nothing"
    assert taken == ["2", "1"]


def test_a_version_that_is_refused_never_serves(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path / "registry"))
    for version in ("1", "2", "3"):
        registry.register(bundle(tmp_path, version), by="ann")
    registry.point(CHAMPION, "starter-1", by="ann", reason="-")
    failures: list[str] = []
    engine = HotSwap(
        registry,
        CHAMPION,
        Hooks(
            load=partial(load_bundle, device="cpu"),
            refuse=lambda e: "unfit" if e.version == "3" else None,
            on_failure=failures.append,
        ),
    )
    model = tmp_path / "registry" / "versions" / "starter-2" / "model.int8.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"!")
    for version in ("starter-2", "starter-3"):
        registry.point(CHAMPION, version, by="ann", reason="-")
        for _ in range(3):
            engine.poll()
        assert engine.predict(["good"])[0].model_version == "1"
    assert failures == ["starter-2", "starter-3"], "a refusal is told once"


def test_the_shadow_counts_disagreement_on_its_share_of_the_texts() -> None:
    texts = [f"text {i}" for i in range(2000)]
    assert 0.2 < sum(shadowed(t, 0.25) for t in texts) / len(texts) < 0.3
    told: list[tuple[str, bool]] = []
    shadow = Shadow(DummyClassifier(), 1.0, lambda head, agree, _: told.append((head, agree)))
    champion = DummyClassifier()
    shadow.compare(champion.encode(["bad", "fine"]), champion.predict(["bad", "fine"]))
    shadow.compare(champion.encode(["bad"]), champion.predict(["fine"]))
    broken = Shadow(DummyClassifier(), 1.0, lambda *_: None)
    for _ in range(2):
        broken.compare(champion.encode(["nan"]), champion.predict(["fine"]))
    assert told.count(("sentiment", False)) == 1
    assert told.count(("sentiment", True)) == 2


def test_texts_that_the_engine_before_tokenised_are_tokenised_again(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path / "registry"))
    for version in ("1", "2"):
        registry.register(bundle(tmp_path, version), by="ann")
    registry.point(CHAMPION, "starter-1", by="ann", reason="-")
    encoded_by: list[str] = []

    def load(read: Bundle) -> OnnxEngine:
        engine = load_bundle(read, device="cpu")
        encode = engine.encode

        def counted(texts: Sequence[str], mentions: Sequence[Mentions] | None = None) -> Encoded:
            encoded_by.append(engine.version)
            return encode(texts, mentions)

        engine.encode = counted  # type: ignore[method-assign]
        return engine

    observed: list[tuple[str, str]] = []
    hot = HotSwap(
        registry,
        CHAMPION,
        Hooks(load=load, observe=lambda e, said: observed.append((e.texts[0], said[0].model_version))),
    )
    assert (hot.name, hot.version) == ("starter", "1")
    waiting = hot.encode(["good"])
    assert hot.infer(waiting)[0].model_version == "1"
    assert encoded_by == ["1"], "what the engine in service tokenised is taken as it is"
    registry.point(CHAMPION, "starter-2", by="ann", reason="-")
    hot.poll()
    assert hot.infer(waiting)[0].model_version == "2"
    assert encoded_by == ["1", "2"]
    assert observed == [("good", "1"), ("good", "2")]
    assert (hot.tokens, hot.padded_tokens) > (0, 0), "those of the engine in service"


def test_a_version_that_is_no_longer_wanted_before_it_serves_is_dropped(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path / "registry"))
    for version in ("1", "2"):
        registry.register(bundle(tmp_path, version), by="ann")
    registry.point(CHAMPION, "starter-1", by="ann", reason="-")
    loaded: list[str] = []

    def load(read: Bundle) -> OnnxEngine:
        loaded.append(read.manifest.version)
        return load_bundle(read, device="cpu")

    hot = HotSwap(registry, CHAMPION, Hooks(load=load))
    registry.point(CHAMPION, "starter-2", by="ann", reason="-")
    hot.poll()
    hot.poll()
    assert loaded == ["1", "2"], "a version that waits is not loaded again"
    registry.rollback(by="ann", reason="-")
    hot.poll()
    assert hot.predict(["good"])[0].model_version == "1"


def test_a_challenger_that_fails_is_left_alone_for_twice_as_long_each_time() -> None:
    asked: list[int] = []
    good = DummyClassifier()

    class Moody(DummyClassifier):
        broken = True

        def predict(self, texts: Sequence[str], mentions: Sequence[Mentions] | None = None) -> list[Prediction]:
            asked.append(batch)
            if self.broken:
                raise RuntimeError("broken")
            return super().predict(texts, mentions)

    counted: list[int] = []
    moody = Moody()
    shadow = Shadow(None, 1.0, lambda _, __, n: counted.append(n))
    shadow.compare(good.encode(["fine"]), good.predict(["fine"]))
    shadow.take(moody)
    for batch in range(1, 24):
        moody.broken = not 12 <= batch < 20
        shadow.compare(good.encode(["fine"]), good.predict(["fine"]))
    assert asked[:5] == [1, 4, 9, 18, 19], "two, four and eight batches are left out"
    assert counted == [1] * 4, "two heads, twice"
    assert asked[5:] == [20, 23], "after a success the pauses begin again"


def test_a_registration_that_was_interrupted_is_made_good_by_the_next(registry: Registry, tmp_path: Path) -> None:
    left = tmp_path / "registry" / "versions" / "starter-1"
    left.mkdir(parents=True)
    (left / "tokenizer.json").write_text("half")
    entry = Registry(str(tmp_path / "registry")).register(bundle(tmp_path, "1"), by="ann")
    assert (entry.id, entry.sequence) == ("starter-1", 1)
    assert Registry(str(tmp_path / "registry")).verify("starter-1").manifest.version == "1"
    assert registry.register(tmp_path / "bundle-1", by="ann").sequence == 1
