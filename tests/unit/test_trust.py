"""Models are loaded from what was verified alone, and a failure that passes is no verdict on them."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from models import bundle as bundles
from models.aliases import CHAMPION
from models.bundle import Bundle, BundleError, load_bundle, read_bundle
from models.engine import OnnxEngine
from models.errors import BundleUnreadableError
from models.folders import private_cache, private_folder
from models.hotswap import Hooks, HotSwap
from models.inference import OutOfMemoryError
from models.registry import Entry, Registry, RegistryUnavailableError
from models.runtimes import EngineError
from models.signing import new_key, sign
from pipeline.classify.model_provider import bundle_in_service, open_classifier
from pipeline.cli.main import app
from pipeline.domain.annotation import Annotation
from pipeline.domain.errors import Fatal
from pipeline.kafka.app import make_app
from pipeline.settings import STARTER, KafkaSettings, ModelSettings
from pipeline.store.sqlite.store import SqliteStore
from tests.builders import START, DummyClassifier

TOKENIZER = "tokenizer.json"


class Engine(DummyClassifier):
    """What a bundle would start, at no cost."""

    def __init__(self, read: Bundle) -> None:
        super().__init__()
        self.name, self.version = read.manifest.name, read.manifest.version


def load(read: Bundle) -> OnnxEngine:
    return cast(OnnxEngine, Engine(read))


@pytest.fixture(autouse=True)
def _registering_starts_no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.registry.load_bundle", lambda *_, **__: None)


def bundle(folder: Path, version: str, **changes: Any) -> Path:
    made = folder / f"bundle-{version}"
    shutil.copytree(STARTER, made)
    manifest = json.loads((made / "manifest.json").read_text())
    (made / "manifest.json").write_text(json.dumps({**manifest, "version": version, **changes}))
    return made


class Storage:
    """A registry in memory, whose storage can be made to fail."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, versions: int = 2) -> None:
        self.url = f"memory://{uuid.uuid4().hex}"
        self.registry = Registry(self.url, cache=folder / "cache")
        self.entries: list[Entry] = []
        for number in range(1, versions + 1):
            self.entries.append(self.registry.register(bundle(folder, str(number)), by="ann"))
        self.point(0)
        self._patch, self._fs = monkeypatch, self.registry._fs._fs
        self._read: Callable[..., bytes] = self._fs.cat_file

    def point(self, number: int) -> None:
        self.registry.point(CHAMPION, self.entries[number].id, by="ann", reason="-")

    def failing(self, error: Exception, times: int, ending: str = "") -> list[int]:
        """The next reads of files with this ending fail; a list that grows by one with each of them."""
        failed: list[int] = []

        def read(path: str, *given: Any, **options: Any) -> bytes:
            if path.endswith(ending) and len(failed) < times:
                failed.append(1)
                raise error
            return self._read(path, *given, **options)

        self._patch.setattr(self._fs, "cat_file", read)
        return failed


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    return Storage(tmp_path, monkeypatch)


PASSING = [
    TimeoutError("timed out"),
    ConnectionResetError("reset"),
    OSError(errno.ENOSPC, "No space left on device"),
    PermissionError("403"),
    RuntimeError("503 Service Unavailable"),
]


@pytest.mark.parametrize("error", PASSING, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("file", ["aliases.json", "2.json", "manifest.json", TOKENIZER])
def test_a_storage_that_fails_once_costs_one_look(storage: Storage, error: Exception, file: str) -> None:
    refused: list[str] = []
    hot = HotSwap(storage.registry, CHAMPION, Hooks(load=load, on_failure=refused.append))
    storage.point(1)
    failed = storage.failing(error, 1, file)
    hot.poll()
    assert failed
    hot.predict(["good"])
    assert hot.version == "1"
    hot.poll()
    hot.predict(["good"])
    assert hot.version == "2"
    assert not refused


def test_a_storage_that_fails_for_long_is_asked_seldom_logged_once_a_minute_and_never_given_up(
    storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    clock, looks = [0.0], []
    hot = HotSwap(
        storage.registry, CHAMPION, Hooks(load=load, on_look=lambda *ids: looks.append(ids)), clock=lambda: clock[0]
    )
    storage.point(1)
    failed = storage.failing(TimeoutError("timed out"), 10**6, TOKENIZER)
    for _ in range(720):  # an hour
        clock[0] += 5
        hot.poll()
    assert 50 < len(failed) < 80
    assert 50 <= sum("keeps serving for now" in r.getMessage() for r in caplog.records) <= 60
    assert set(looks) == {("starter-2", "starter-1")}, "who watches the fleet sees that this worker lags behind"
    storage.failing(TimeoutError(), 0)
    for _ in range(13):
        hot.poll()
    hot.predict(["good"])
    hot.poll()
    assert looks[-1] == ("starter-2", "starter-2")


@pytest.mark.parametrize("error", [OutOfMemoryError("short"), BundleUnreadableError("EIO"), MemoryError(), OSError()])
def test_an_engine_that_does_not_start_for_now_is_started_later(storage: Storage, error: Exception) -> None:
    failures: list[Exception] = []

    def moody(read: Bundle) -> OnnxEngine:
        if read.manifest.version == "2" and len(failures) < 3:
            failures.append(error)
            raise error
        return load(read)

    hot = HotSwap(storage.registry, CHAMPION, Hooks(load=moody))
    storage.point(1)
    for _ in range(8):
        hot.poll()
    hot.predict(["good"])
    assert (hot.version, len(failures)) == ("2", 3)


def test_an_engine_that_a_machine_cannot_start_is_refused_once_and_tried_again_now_and_then(storage: Storage) -> None:
    tried: list[int] = []
    refused: list[str] = []

    def no_gpu(read: Bundle) -> OnnxEngine:
        if read.manifest.version == "2":
            tried.append(1)
            raise EngineError("CUDA does not start")
        return load(read)

    hot = HotSwap(storage.registry, CHAMPION, Hooks(load=no_gpu, on_failure=refused.append))
    storage.point(1)
    for _ in range(300):
        hot.poll()
    assert (len(tried), refused) == (5, ["starter-2"])


def test_memory_that_is_short_is_no_verdict_on_the_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*_: Any, **__: Any) -> None:
        raise RuntimeError("Failed to allocate memory for requested buffer")

    monkeypatch.setattr("models.engine.open_runtime", short)
    with pytest.raises(OutOfMemoryError, match="memory"):
        load_bundle(STARTER, device="cpu")


def test_a_refused_version_is_examined_again_when_its_files_change(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path / "registry"))
    for version in ("1", "2"):
        registry.register(bundle(tmp_path, version), by="ann")
    registry.point(CHAMPION, "starter-1", by="ann", reason="-")
    refused: list[str] = []
    loads: list[str] = []

    def counting(read: Bundle) -> OnnxEngine:
        loads.append(read.manifest.version)
        return load(read)

    hot = HotSwap(registry, CHAMPION, Hooks(load=counting, on_failure=refused.append))
    damaged = tmp_path / "registry" / "versions" / "starter-2" / TOKENIZER
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-1] + b"!")
    registry.point(CHAMPION, "starter-2", by="ann", reason="-")
    for _ in range(5):
        hot.poll()
    assert (refused, loads) == (["starter-2"], ["1"])
    damaged.write_bytes(whole)
    hot.poll()
    hot.predict(["good"])
    assert hot.version == "2"


def test_a_cached_copy_that_was_damaged_is_fetched_again(storage: Storage) -> None:
    two = storage.entries[1].id
    copy = storage.registry.fetch(two)
    for damage in (
        lambda: (copy / TOKENIZER).write_bytes(b"{}"),
        (copy / "manifest.json").unlink,
        lambda: (copy / TOKENIZER).unlink() or (copy / TOKENIZER).symlink_to("/etc/hostname"),
    ):
        damage()
        assert storage.registry.verify(two).manifest.version == "2"
        assert read_bundle(storage.registry.fetch(two)).manifest.version == "2"


def test_a_cached_copy_that_cannot_be_read_is_fetched_again_and_not_removed(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = storage.entries[1].id
    copy = storage.registry.fetch(two)

    def broken(path: Path, _: int) -> bytes:
        raise BundleUnreadableError(f"{path} cannot be read: Input/output error")

    monkeypatch.setattr(bundles, "_plain_file", broken)
    assert storage.registry.verify(two).manifest.version == "2"
    with pytest.raises(RegistryUnavailableError, match="read back"):
        storage.registry.fetch(two)
    monkeypatch.undo()
    assert read_bundle(copy).manifest.version == "2"


def test_a_fetch_that_fails_leaves_nothing_and_one_that_cannot_be_kept_is_loaded_all_the_same(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    storage.failing(TimeoutError(), 1, "model.int8.onnx")
    with pytest.raises(RegistryUnavailableError, match="TimeoutError"):
        storage.registry.fetch("starter-1")
    assert not cache.exists() or not list(cache.iterdir())

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Bundle, "write", full)
    assert storage.registry.verify("starter-1").manifest.version == "1"
    with pytest.raises(RegistryUnavailableError, match="No space left"):
        storage.registry.fetch("starter-1")
    assert not list(cache.iterdir())


@pytest.mark.parametrize("file", ["manifest.json", TOKENIZER, "manifest.sig"])
def test_no_more_is_read_of_a_file_than_a_bundle_may_have(
    storage: Storage, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    most: list[int] = []
    read = storage._read

    def endless(path: str, *given: Any, start: int = 0, end: int = 0, **options: Any) -> bytes:
        if path.endswith(f"/{file}"):
            most.append(end)
            return b" " * min(end, 20_000_000)
        return read(path, *given, **options)

    monkeypatch.setattr(storage._fs, "cat_file", endless)
    if file == "manifest.sig":
        assert storage.registry.verify("starter-1")
    else:
        with pytest.raises(BundleError):
            storage.registry.verify("starter-1")
    assert most
    assert max(most) <= bundles.MAX_MANIFEST_BYTES + 1


def test_the_cache_drops_only_what_nobody_has_used_for_a_month(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process, of another registry perhaps, may train from a copy that this one's aliases do not name."""
    storage = Storage(tmp_path, monkeypatch, versions=4)
    cache = tmp_path / "cache"
    for number in range(3):
        storage.registry.fetch(storage.entries[number].id)
    long_ago = time.time() - 40 * 86_400
    first, second, _ = sorted(cache.iterdir())
    partial = cache / ".partial-old"
    partial.mkdir()
    for folder in (first, second, partial):
        os.utime(folder, (long_ago, long_ago))
    storage.registry.fetch(storage.entries[1].id)
    storage.registry.fetch(storage.entries[3].id)
    assert sorted(folder.name[:9] for folder in cache.iterdir()) == ["starter-2", "starter-3", "starter-4"]


@pytest.mark.parametrize("digest", ["", "../../../elsewhere", "A" * 64])
def test_an_entry_that_leads_out_of_the_cache_is_none(storage: Storage, digest: str) -> None:
    entry = storage.registry._read(f"{storage.registry._root}/versions/starter-1.json")
    storage.registry._write(f"{storage.registry._root}/versions/starter-1.json", {**entry, "digest": digest})
    with pytest.raises(ValueError, match="not the entry of a version"):
        storage.registry.verify("starter-1")


def test_no_error_of_a_storage_repeats_a_credential(storage: Storage) -> None:
    for words in (
        "Failed to connect to proxy URL: http://user:canary@proxy:3128",
        "403, url='https://host/models?X-Amz-Signature=canary&x=1', denied",
    ):
        storage.failing(OSError(words), 1)
        with pytest.raises(RegistryUnavailableError, match=r"proxy:3128|denied") as raised:
            storage.registry.alias(CHAMPION)
        assert "canary" not in str(raised.value)


def test_while_the_storage_fails_no_alias_is_forgotten(storage: Storage) -> None:
    storage.failing(ConnectionError("down"), 1, "aliases.json")
    with pytest.raises(RegistryUnavailableError):
        storage.point(1)
    storage.failing(ConnectionError("down"), 0)
    storage.point(1)
    assert storage.registry.rollback(by="ann", reason="-") == "starter-1"


def test_a_storage_that_does_not_answer_is_a_dependency_that_is_down(storage: Storage) -> None:
    storage.failing(TimeoutError("timed out"), 10**6)
    for use in (open_classifier, bundle_in_service):
        with pytest.raises(Fatal, match="TimeoutError") as raised:
            use(ModelSettings(registry=storage.url))
        assert raised.value.exit_code == 69


def test_a_folder_that_is_exchanged_while_it_is_read_is_refused_or_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "key"
    public = new_key(key)
    good, evil = bundle(tmp_path, "1", name="good"), bundle(tmp_path, "2", name="evil")
    (evil / TOKENIZER).write_bytes((evil / TOKENIZER).read_bytes().replace(b"good", b"evil"))
    sign(good, key)
    registry = Registry(str(tmp_path / "registry"), trusted=[public])
    registry.point(CHAMPION, registry.register(good, by="ann").id, by="ann", reason="-")
    place = tmp_path / "registry" / "versions" / "good-1"
    kept = place.rename(tmp_path / "kept")
    read, served, refused = bundles._plain_file, set(), 0

    def lead_to(folder: Path) -> None:
        (tmp_path / "link").symlink_to(folder)
        (tmp_path / "link").replace(place)

    def load_after_the_exchange(found: Bundle) -> OnnxEngine:
        lead_to(evil)
        return load(found)

    for moment in range(6):
        files: list[Path] = []

        def exchanging(path: Path, most: int, moment: int = moment, files: list[Path] = files) -> bytes:
            files.append(path)
            if len(files) == moment + 1:
                lead_to(evil)
            return read(path, most)

        lead_to(kept)
        monkeypatch.setattr(bundles, "_plain_file", exchanging)
        try:
            served.add(HotSwap(registry, CHAMPION, Hooks(load=load_after_the_exchange)).name)
        except BundleError:
            refused += 1
    assert served == {"good"}
    assert refused >= 3


def test_a_champion_of_nobody_we_trust_is_no_base(tmp_path: Path) -> None:
    public = new_key(tmp_path / "key")
    registry = Registry(str(tmp_path / "registry"))
    registry.point(CHAMPION, registry.register(bundle(tmp_path, "1"), by="ann").id, by="ann", reason="-")
    with pytest.raises(Fatal, match="not signed"):
        bundle_in_service(ModelSettings(registry=registry.url, trusted_keys=[public]))
    manifest = tmp_path / "registry" / "versions" / "starter-1" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"max_tokens": ', '"max_tokens":'))
    for use in (open_classifier, bundle_in_service):
        with pytest.raises(Fatal, match="not the one that was registered"):
            use(ModelSettings(registry=registry.url))


def test_a_base_is_trained_from_a_copy_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    registry = Registry(str(tmp_path / "registry"))
    registry.point(CHAMPION, registry.register(bundle(tmp_path, "1"), by="ann").id, by="ann", reason="-")
    copy = bundle_in_service(ModelSettings(registry=registry.url))
    assert copy.is_relative_to(tmp_path / "home" / "opinionwatch" / "registry")
    assert read_bundle(copy).manifest.version == "1"
    for folder in (copy, copy.parent, copy.parent.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_of_another_user_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ours = private_folder(tmp_path / "ours")
    ours.chmod(0o777)
    assert stat.S_IMODE(private_folder(ours).stat().st_mode) == 0o700
    (tmp_path / "link").symlink_to(ours)
    (tmp_path / "file").write_text("")
    for name in ("link", "file"):
        with pytest.raises(PermissionError, match="link"):
            private_folder(tmp_path / name)
    home = tmp_path / "home"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    first = private_cache("registry")
    assert first == home / "opinionwatch" / "registry"
    assert Path(make_app("test", KafkaSettings(), "127.0.0.1:1").conf.datadir).is_relative_to(home / "opinionwatch")
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with caplog.at_level(logging.WARNING):
        other = private_cache("registry")
    assert "another user" in caplog.text
    assert not other.is_relative_to(home)
    assert stat.S_IMODE(other.stat().st_mode) == 0o700
    assert private_cache("registry") == other


def test_a_home_that_cannot_be_written_costs_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert private_cache("registry").is_dir()


def test_a_retraining_signs_nothing_that_comes_of_an_unsigned_champion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = new_key(tmp_path / "key")
    registry = Registry(str(tmp_path / "registry"))
    made = bundle(tmp_path, "1")
    registry.point(CHAMPION, registry.register(made, by="ann").id, by="ann", reason="-")
    store = SqliteStore(tmp_path / "store.sqlite")
    store.setup()
    store.put_annotations([Annotation("p", "sentiment", "negative", "ann", START, "a text")])
    for name, value in {
        "MODEL__REGISTRY": registry.url,
        "STORE__URL": f"sqlite:///{tmp_path}/store.sqlite",
        "TRAINING__SIGNING_KEY": str(tmp_path / "key"),
        "TRAINING__WORK": str(tmp_path / "work"),
    }.items():
        monkeypatch.setenv(f"OPINIONWATCH_{name}", value)
    done = CliRunner().invoke(app, ["retrain", "--min-new-labels", "1"])
    assert isinstance(done.exception, Fatal)
    assert "not signed" in str(done.exception)
    assert not (tmp_path / "work" / "run.json").exists()
    assert sign(made, tmp_path / "key") == public
    signed = tmp_path / "registry" / "versions" / "starter-1" / "manifest.sig"
    signed.write_bytes((made / "manifest.sig").read_bytes())
    (signed.parent / TOKENIZER).write_text("{}")
    (tmp_path / "work").chmod(0o777)
    with monkeypatch.context() as other:
        other.setattr(os, "geteuid", lambda: 4711)
        done = CliRunner().invoke(app, ["retrain", "--min-new-labels", "1"])
    assert "training.work" in str(done.exception)
    assert "another user" in str(done.exception), "what lies there is not ours"
    done = CliRunner().invoke(app, ["retrain", "--min-new-labels", "1"])
    assert "not the" in str(done.exception), "a signature of the manifest does not cover for a file that was changed"


def test_a_temporary_cache_ends_with_its_process(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("no folder")
    code = """
import shutil, sys
from models.folders import private_cache
folder = private_cache("registry")
assert folder == private_cache("registry") and folder.is_dir()
print(folder)
if len(sys.argv) > 1:
    shutil.rmtree(folder)
"""
    for gone in ([], ["gone"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *gone],
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "opinionwatch-registry-" in done.stdout
        assert not Path(done.stdout.strip()).exists()
        assert "Traceback" not in done.stderr, "somebody may have removed it before"
