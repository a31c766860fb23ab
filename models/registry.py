"""The registry of bundle versions and aliases such as the champion: a folder, or an object store through fsspec.

versions/NAME-VERSION/...     the files of the bundle, written once
versions/NAME-VERSION.json    its entry, written last: without the entry, the version does not exist
aliases.json                  alias -> the versions it has named, the current one last; replaced as a whole
audit/TIME-ACTION.json        who did what, when and why
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Any

import fsspec

from models.aliases import CHAMPION
from models.atomic_file import replacing
from models.bundle import Bundle, BundleError, load_bundle, read_bundle
from models.errors import BundleUnreadableError
from models.folders import private_cache

log = logging.getLogger(__name__)
#: Secrets that clients quote in their errors: users and passwords of proxies, parameters of signed URLs.
_SECRET = re.compile(r"(?<=://)[^/\s]*(?=@)|(?<=\?)[^\s'\")]+")
_MOST_WORDS = 500
_PARTIAL, _PARTIAL_LIFE_S = ".partial-", 86_400
#: The cache drops a copy that no process has opened for this long. Several registries share the cache of a user, so
#: that a rule by the current aliases of one could delete a bundle that a training of another one is using.
_UNUSED_LIFE_S = 30 * 86_400
#: Names that file systems give to properties that change when a file changes.
_MARKS = ("name", "size", "mtime", "ino", "created", "ETag", "etag", "LastModified", "last_modified", "updated", "md5")


class RegistryError(ValueError):
    """The registry refuses the request; the message says why and what to do."""


class RegistryUnavailableError(RegistryError):
    """The registry's storage did not answer, or refused for now, so that nothing is known of its content."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One version. `sequence` grows by one with each registration; `digest` is the SHA-256 of its manifest."""

    id: str
    name: str
    version: str
    sequence: int
    digest: str
    registered_at: str
    size_bytes: int
    metrics: dict[str, float]


class Registry:
    """`url` is a folder or an fsspec URL such as `s3://bucket/models`, whose bundles are copied into `cache`.

    In a folder, a lock serialises registering, promoting and rolling back. In an object store the last writer wins, so
    that only one job may write there.
    """

    def __init__(self, url: str, cache: Path | None = None, *, trusted: Sequence[str] = ()) -> None:
        """With `trusted` public keys, the registry registers, promotes and loads only bundles signed by one of them."""
        self.url, self._trusted = url, trusted
        try:
            fs, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError, OSError) as error:
            raise RegistryError(f"model.registry {url!r}: {error}") from None
        self._fs: Any = _Reached(fs, url)
        self._root = root.rstrip("/")
        self._local = fs.protocol == "file" or "file" in fs.protocol
        self._cache = cache

    def entries(self) -> list[Entry]:
        """All versions, oldest first."""
        found = [self._entry(path) for path in self._json_files("versions")]
        return sorted(found, key=lambda e: e.sequence)

    def entry(self, version_id: str) -> Entry:
        try:
            if "/" not in version_id:
                return self._entry(f"{self._root}/versions/{version_id}.json")
        except FileNotFoundError:
            pass
        raise RegistryError(f"no version {version_id!r} in {self.url}; see 'opinionwatch models list'")

    def alias(self, name: str) -> str | None:
        """The id of the version that the alias names now; None without one."""
        history = self._aliases().get(name)
        return history[-1] if history else None

    def aliases(self) -> dict[str, str]:
        return {name: ids[-1] for name, ids in self._aliases().items() if ids}

    def register(self, bundle: Path, *, by: str) -> Entry:
        """Verifies a bundle and copies it into the registry; refuses other content under an existing version.

        Registering the same bundle again changes nothing.
        """
        read = read_bundle(bundle, self._trusted)
        manifest, digest = read.manifest, hashlib.sha256(read.raw).hexdigest()
        load_bundle(read, device="cpu")
        version_id = f"{manifest.name}-{manifest.version}"
        with self._locked():
            known = self.entries()
            if same := next((e for e in known if e.id == version_id), None):
                if same.digest == digest:
                    return same
                raise RegistryError(f"{version_id} is registered with other content; give the bundle another version")
            entry = Entry(
                id=version_id,
                name=manifest.name,
                version=manifest.version,
                sequence=max((e.sequence for e in known), default=0) + 1,
                digest=digest,
                registered_at=_now(),
                size_bytes=sum(map(len, read.files.values())),
                metrics=manifest.metrics,
            )
            folder = f"{self._root}/versions/{version_id}"
            self._fs.makedirs(folder, exist_ok=True)
            for name, data in read.contents.items():
                self._fs.pipe_file(f"{folder}/{name}", data)
            self._write(f"{self._root}/versions/{version_id}.json", asdict(entry))
            self._record("register", by, version=version_id)
        return entry

    def point(self, alias: str, version_id: str, *, by: str, reason: str) -> None:
        """Points `alias` to an existing version; the history of the alias keeps the former one."""
        self.entry(version_id)
        with self._locked():
            aliases = self._aliases()
            history = aliases.setdefault(alias, [])
            if not history or history[-1] != version_id:
                history.append(version_id)
                self._write(f"{self._root}/aliases.json", aliases)
                self._record("point", by, alias=alias, version=version_id, reason=reason)

    def rollback(self, *, by: str, reason: str) -> str:
        """Makes the previous champion the champion again; returns its id."""
        with self._locked():
            aliases = self._aliases()
            history = aliases.get(CHAMPION, [])
            if len(history) < 2:
                raise RegistryError("there is no earlier champion to go back to; see 'opinionwatch models list'")
            dropped = history.pop()
            self._write(f"{self._root}/aliases.json", aliases)
            self._record("rollback", by, version=history[-1], dropped=dropped, reason=reason)
            return history[-1]

    def verify(self, version_id: str) -> Bundle:
        """Reads the registered bundle into memory, verified: an engine made from it runs exactly these bytes.

        Fetches a damaged copy in the cache again. Raises `BundleError` where the files differ from the registered
        ones, `RegistryUnavailableError` where the storage cannot deliver them now.
        """
        return self._verified(self.entry(version_id))

    def _verified(self, entry: Entry) -> Bundle:
        if self._local:
            return read_bundle(Path(self._root) / "versions" / entry.id, self._trusted, entry.digest)
        if (kept := self._kept(entry)) is not None:
            return kept
        folder, target = f"{self._root}/versions/{entry.id}", self._target(entry)
        bundle = read_bundle(
            target, self._trusted, entry.digest, lambda name, most: self._bytes(f"{folder}/{name}", most)
        )
        try:
            self._keep(bundle, target)
        except OSError as error:
            log.warning("%s is loaded, but not kept in %s: %s", entry.id, target.parent, error)
        return bundle

    def fetch(self, version_id: str) -> Path:
        """A folder with the verified bundle: the registry's own folder, or a copy from an object store."""
        if self._local:
            self.verify(version_id)
            return Path(self._root) / "versions" / version_id
        return self.checkout(version_id)

    def checkout(self, version_id: str) -> Path:
        """A folder with a copy of the verified bundle that only this user may write to."""
        entry = self.entry(version_id)
        target = self._target(entry)
        if self._kept(entry) is None:
            try:
                self._keep(self._verified(entry), target)
            except OSError as error:
                raise RegistryUnavailableError(f"{version_id} cannot be written to {target.parent}: {error}") from error
            if self._kept(entry) is None:
                raise RegistryUnavailableError(f"{version_id} cannot be read back from {target}")
        return target

    def fingerprint(self, version_id: str) -> str:
        """A hash that changes when the entry of a version changes, or when a listing shows that its files changed."""
        self._fs.invalidate_cache()
        files = self._fs.ls(f"{self._root}/versions/{version_id}", detail=True)
        marks = sorted(str([file.get(mark) for mark in _MARKS]) for file in files)
        return hashlib.sha256(json.dumps([asdict(self.entry(version_id)), marks]).encode()).hexdigest()

    def audit(self) -> list[dict[str, str]]:
        """Every change, oldest first: `at`, `action`, `by`, and what belongs to the action."""
        return [self._read(path) for path in self._json_files("audit")]

    def _target(self, entry: Entry) -> Path:
        return (self._cache or private_cache("registry")) / f"{entry.id}-{entry.digest[:16]}"

    def _kept(self, entry: Entry) -> Bundle | None:
        """The verified copy in the cache, or None where no copy is readable; removes a damaged copy."""
        target = self._target(entry)
        if not target.exists():
            return None
        try:
            with suppress(PermissionError):
                os.utime(target)  # `_prune` drops copies by the time of their last use
            return read_bundle(target, self._trusted, entry.digest)
        except BundleUnreadableError as error:
            log.warning("the cached copy of %s is not used: %s", entry.id, error)
            return None
        except BundleError as error:
            log.warning("the cached copy of %s is damaged and removed: %s", entry.id, error)
            shutil.rmtree(target, ignore_errors=True)
            return None

    def _keep(self, bundle: Bundle, target: Path) -> None:
        """Writes a copy into the cache atomically, and drops copies that nobody uses."""
        cache = target.parent
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=cache))
        try:
            bundle.write(partial)
            try:
                partial.rename(target)
            except OSError:
                if not target.exists():  # where it exists, another process wrote it first
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        with suppress(OSError, RegistryError):  # the next write prunes as well
            self._prune(cache)

    def _prune(self, cache: Path) -> None:
        """Drops the copies that no process of this user has used for long, from whichever registry they came."""
        for folder in cache.iterdir():
            life_s = _PARTIAL_LIFE_S if folder.name.startswith(_PARTIAL) else _UNUSED_LIFE_S
            if time.time() - folder.stat().st_mtime > life_s:
                shutil.rmtree(folder, ignore_errors=True)

    def _aliases(self) -> dict[str, list[str]]:
        path = f"{self._root}/aliases.json"
        try:
            found = self._read(path)
        except FileNotFoundError:
            return {}
        histories = found.values() if isinstance(found, dict) else [None]
        if not all(isinstance(ids, list) and all(isinstance(id_, str) for id_ in ids) for ids in histories):
            raise RegistryError(f"{path} is not a table of aliases; restore the file")
        return dict(found)

    def _json_files(self, folder: str) -> list[str]:
        self._fs.invalidate_cache()
        try:
            found = self._fs.ls(f"{self._root}/{folder}", detail=False)
        except FileNotFoundError:
            return []
        return sorted(path for path in found if path.endswith(".json"))

    def _entry(self, path: str) -> Entry:
        """The entry in a file; ignores fields of a newer release."""
        value = self._read(path)
        try:
            entry = Entry(**{f.name: value[f.name] for f in fields(Entry)})
            good = path.endswith(f"/{entry.id}.json") and re.fullmatch(r"[0-9a-f]{64}", entry.digest)
        except (KeyError, TypeError):
            good = None
        if not good:
            raise RegistryError(f"{path} is not the entry of a version; register the bundle again")
        return entry

    def _bytes(self, path: str, most: int) -> bytes:
        return bytes(self._fs.cat_file(path, start=0, end=most + 1))

    def _record(self, action: str, by: str, **more: str) -> None:
        at = _now()
        self._write(f"{self._root}/audit/{at}-{action}.json", {"at": at, "action": action, "by": by, **more})

    def _read(self, path: str) -> Any:
        self._fs.invalidate_cache()
        data = self._fs.cat_file(path)
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise RegistryError(f"{path} is not JSON; restore the file") from None

    def _write(self, path: str, value: Any) -> None:
        data = json.dumps(value, ensure_ascii=False, indent=1).encode()
        self._fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        if self._local:
            with replacing(Path(path)) as partial:
                partial.write_bytes(data)
        else:
            self._fs.pipe_file(path, data)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if not self._local:
            yield
            return
        Path(self._root).mkdir(parents=True, exist_ok=True)
        with (Path(self._root) / ".lock").open("w") as file:
            flock(file, LOCK_EX)
            yield


class _Reached:
    """An fsspec file system that raises `RegistryUnavailableError` for every failure but a missing file."""

    def __init__(self, fs: Any, url: str) -> None:
        self._fs, self._url = fs, url

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._fs, name)

        def reached(*given: Any, **options: Any) -> Any:
            try:
                return call(*given, **options)
            except FileNotFoundError:
                raise
            except Exception as error:
                what = _SECRET.sub("***", f"{type(error).__name__}: {error}"[:_MOST_WORDS]).rstrip(": ")
                raise RegistryUnavailableError(f"{self._url} cannot be used now: {what}") from error

        return reached


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
