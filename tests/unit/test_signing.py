"""Only what a trusted key signed may serve, and nothing that was changed since."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import pytest

from models.aliases import CHAMPION
from models.bundle import BundleError, read_bundle
from models.registry import Registry
from models.signing import SIGNATURE, new_key, sign
from pipeline.classify.model_provider import open_classifier
from pipeline.domain.errors import Fatal
from pipeline.settings import ModelSettings

STARTER = Path(__file__).resolve().parents[2] / "models" / "starter"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(STARTER, tmp_path / "bundle"))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return tmp_path / "key.pem"


def test_what_a_trusted_key_signed_serves(bundle: Path, key: Path) -> None:
    public = new_key(key)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert sign(bundle, key) == public
    settings = ModelSettings(bundle=str(bundle), trusted_keys=[public])
    assert open_classifier(settings).name == "starter"


def test_unsigned_foreign_and_changed_bundles_are_refused(bundle: Path, key: Path, tmp_path: Path) -> None:
    public, other = new_key(key), new_key(tmp_path / "other.pem")
    settings = ModelSettings(bundle=str(bundle), trusted_keys=[public])
    with pytest.raises(Fatal, match="not signed.*models sign"):
        open_classifier(settings)
    sign(bundle, tmp_path / "other.pem")
    with pytest.raises(Fatal, match="none of model.trusted_keys"):
        open_classifier(settings)
    read_bundle(bundle, [public, other])
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["heads"][0]["temperature"] = 9.0
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="changed since"):
        read_bundle(bundle, [public, other])
    (bundle / SIGNATURE).write_bytes(b"\x00\xff")
    with pytest.raises(BundleError, match="none of"):
        read_bundle(bundle, [public])


def test_a_registry_takes_in_and_promotes_only_signed_bundles(bundle: Path, key: Path, tmp_path: Path) -> None:
    public = new_key(key)
    registry = Registry(str(tmp_path / "registry"), trusted=[public])
    with pytest.raises(BundleError, match="not signed"):
        registry.register(bundle, by="test")
    sign(bundle, key)
    entry = registry.register(bundle, by="test")
    registry.verify(entry.id)
    registry.point(CHAMPION, entry.id, by="test", reason="test")
    settings = ModelSettings(registry=registry.url, trusted_keys=[public])
    assert open_classifier(settings).name == "starter"
    (registry.fetch(entry.id) / SIGNATURE).unlink()
    with pytest.raises(BundleError, match="not signed"):
        registry.verify(entry.id)


@pytest.mark.parametrize("text", ["", "no key", "AAAA"])
def test_a_key_that_is_none_is_named_when_the_settings_are_read(text: str) -> None:
    with pytest.raises(ValueError, match="not an Ed25519 public key.*keygen"):
        ModelSettings(trusted_keys=[text])


def test_a_file_that_is_no_key_is_named(bundle: Path, key: Path) -> None:
    key.write_text("not a key")
    with pytest.raises(BundleError, match="is not a private key"):
        sign(bundle, key)
    with pytest.raises(FileExistsError):
        new_key(key)
