"""A bundle that differs from its manifest in anything is refused before it is parsed."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from models import BundleError, load_bundle
from models.bundle import read_manifest, verified_files
from models.runtimes import CUDA_PROVIDER, Device, EngineError, Session, open_runtime
from pipeline.settings import STARTER

MOOD = {"name": "mood", "labels": ["bad", "good"], "temperature": 1}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(STARTER, tmp_path / "bundle"))


@pytest.mark.long
def test_of_a_thousand_single_byte_corruptions_none_is_loaded(bundle: Path) -> None:
    rng, manifest = random.Random(23), read_manifest(bundle)
    loaded = 0
    for number in range(1000):
        file = bundle / (manifest.model_file if number % 2 else manifest.tokenizer_file)
        with file.open("r+b") as target:
            place = rng.randrange(file.stat().st_size)
            target.seek(place)
            before = target.read(1)
            target.seek(place)
            target.write(bytes([before[0] ^ (1 << rng.randrange(8))]))
        try:
            verified_files(bundle, manifest)
            loaded += 1
        except BundleError:
            pass
        with file.open("r+b") as target:
            target.seek(place)
            target.write(before)
    assert loaded == 0
    assert verified_files(bundle, manifest)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 2}, "format"),
        ({"heads": []}, "heads"),
        ({"domains": ["ai.onnx", "evil.ops"]}, "evil.ops"),
        ({"model_file": "../model.onnx"}, "no entry"),
        ({"surprise": 1}, "surprise"),
        (
            {"heads": [{**MOOD, "doubt": {"threshold": 0.5, "weight": 0.5}}]},
            "head 'mood': doubt belongs to the head 'irony'",
        ),
        ({"heads": [{**MOOD, "labels": ["bad", "bad"]}]}, "names a label twice"),
        ({"heads": [{**MOOD, "abstain_below": 1.5}]}, "abstain_below"),
    ],
)
def test_a_manifest_that_is_not_right_is_refused_with_the_reason(
    bundle: Path, change: dict[str, object], words: str
) -> None:
    path = bundle / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(BundleError, match=words):
        load_bundle(bundle, device="cpu")


def test_other_labels_than_the_model_was_exported_with_fail_its_golden_texts(bundle: Path) -> None:
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["heads"] = manifest["heads"][::-1]
    path.write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="golden text"):
        load_bundle(bundle, device="cpu")


def test_a_truncated_or_linked_file_is_refused(bundle: Path, tmp_path: Path) -> None:
    model = bundle / read_manifest(bundle).model_file
    data = model.read_bytes()
    model.write_bytes(data[:-1])
    with pytest.raises(BundleError, match="bytes"):
        load_bundle(bundle)
    model.unlink()
    (tmp_path / "elsewhere").write_bytes(data)
    model.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="plain file"):
        load_bundle(bundle)


@pytest.fixture
def for_both(bundle: Path) -> Path:
    """With a graph for a GPU, which is the same here."""
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    shutil.copyfile(bundle / manifest["model_file"], bundle / "gpu.onnx")
    manifest["files"]["gpu.onnx"] = manifest["files"][manifest["model_file"]]
    kept = ("precision", "domains", "golden", "golden_tolerance")
    manifest["gpu"] = {"model_file": "gpu.onnx", **{key: manifest[key] for key in kept}}
    path.write_text(json.dumps(manifest))
    return bundle


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A machine with a GPU; the devices that an engine was started on."""
    started: list[str] = []

    def start(model: bytes, device: Device, *given: Any, **options: Any) -> Session:
        started.append(device)
        session = open_runtime(model, "cpu", *given, **options)
        return session._replace(name=CUDA_PROVIDER) if device == "cuda" else session

    monkeypatch.setattr("models.runtimes._has_cuda", lambda: True)
    monkeypatch.setattr("models.engine.open_runtime", start)
    return started


def test_a_gpu_runs_its_own_graph_and_a_cpu_the_other(for_both: Path, devices: list[str]) -> None:
    assert load_bundle(for_both).provider == CUDA_PROVIDER
    assert load_bundle(for_both, device="cpu").provider != CUDA_PROVIDER
    assert load_bundle(for_both, runtime="openvino").provider == "OpenVINO"
    assert devices == ["cuda", "cpu", "auto"]


def test_where_the_gpu_does_not_start_the_cpu_serves_unless_told_otherwise(
    for_both: Path, devices: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_cuda(model: bytes, device: Device, *given: Any, **options: Any) -> Session:
        if device == "cuda":
            raise EngineError("CUDA does not start")
        return open_runtime(model, device, *given, **options)

    monkeypatch.setattr("models.engine.open_runtime", no_cuda)
    with pytest.raises(EngineError, match="does not start"):
        load_bundle(for_both, device="cuda")
    assert load_bundle(for_both).predict(["good"])[0].label("sentiment") == "positive"
    assert "the CPU runs its other graph: CUDA does not start" in caplog.text


@pytest.mark.parametrize("change", ["byte", "domain"])
def test_a_graph_for_a_gpu_is_verified_where_there_is_none(for_both: Path, change: str) -> None:
    if change == "byte":
        data = (for_both / "gpu.onnx").read_bytes()
        (for_both / "gpu.onnx").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    else:
        path = for_both / "manifest.json"
        manifest = json.loads(path.read_text())
        manifest["gpu"]["domains"] = ["evil.ops"]
        path.write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"gpu\.onnx: SHA-256" if change == "byte" else "evil"):
        load_bundle(for_both, device="cpu")
