"""A bundle that differs from its manifest in anything is refused before it is parsed."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from models import BundleError, load_bundle
from models.bundle import read_manifest, verified_files
from pipeline.settings import STARTER


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
