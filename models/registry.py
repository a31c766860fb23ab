"""Versions of bundles and the aliases that name the one in service: a folder, or an object store through fsspec.

versions/NAME-VERSION/...     the files of the bundle, written once
versions/NAME-VERSION.json    its entry, written last: without it, the version does not exist
aliases.json                  alias -> versions it named, the current one last; replaced as a whole
audit/TIME-ACTION.json        who did what, when and why
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Any

import fsspec

from models.bundle import BundleError, load_bundle, read_manifest, verified_files
from models.signing import SIGNATURE, check_signature

CHAMPION, CHALLENGER = "champion", "challenger"


class RegistryError(ValueError):
    """The registry cannot do that; the message says why and what to do."""


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


def _entry(value: Mapping[str, Any]) -> Entry:
    """Passes over fields of a newer release; raises `RegistryError`."""
    try:
        return Entry(**{field.name: value[field.name] for field in fields(Entry)})
    except KeyError as missing:
        raise RegistryError(f"the registry has an entry without {missing}: register the version again") from None


class Registry:
    """`url` is a folder or an fsspec URL such as `s3://bucket/models`; `cache` keeps what is fetched from the latter.

    Registering, promoting and rolling back are locked against each other in a folder; in an object store the last
    writer wins, so let one job write there.
    """

    def __init__(self, url: str, cache: Path | None = None, *, trusted: Sequence[str] = ()) -> None:
        """With `trusted` public keys, only bundles that one of them signed are registered, promoted and loaded."""
        self.url, self._trusted = url, trusted
        try:
            self._fs, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise RegistryError(f"model.registry {url!r}: {error}") from None
        self._root = root.rstrip("/")
        self._local = self._fs.protocol == "file" or "file" in self._fs.protocol
        self._cache = cache or Path(tempfile.gettempdir()) / f"opinionwatch-registry-{os.getuid()}"

    def entries(self) -> list[Entry]:
        """All versions, the oldest first."""
        found = [_entry(self._read(path)) for path in self._fs.glob(f"{self._root}/versions/*.json")]
        return sorted(found, key=lambda e: e.sequence)

    def entry(self, version_id: str) -> Entry:
        path = f"{self._root}/versions/{version_id}.json"
        if "/" in version_id or not self._fs.exists(path):
            raise RegistryError(f"no version {version_id!r} in {self.url}; see 'opinionwatch models list'")
        return _entry(self._read(path))

    def alias(self, name: str) -> str | None:
        """The id that an alias names now."""
        history = self._aliases().get(name)
        return history[-1] if history else None

    def aliases(self) -> dict[str, str]:
        return {name: ids[-1] for name, ids in self._aliases().items() if ids}

    def register(self, bundle: Path, *, by: str) -> Entry:
        """Copies a verified bundle in; the same bundle twice is one entry, another one of that name is refused."""
        manifest = read_manifest(bundle)
        contents = verified_files(bundle, manifest)
        check_signature(bundle, self._trusted)
        load_bundle(bundle, device="cpu")
        raw = (bundle / "manifest.json").read_bytes()
        if (bundle / SIGNATURE).is_file():
            contents[SIGNATURE] = (bundle / SIGNATURE).read_bytes()
        version_id, digest = f"{manifest.name}-{manifest.version}", hashlib.sha256(raw).hexdigest()
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
                size_bytes=sum(map(len, contents.values())),
                metrics=manifest.metrics,
            )
            folder = f"{self._root}/versions/{version_id}"
            self._fs.makedirs(folder, exist_ok=True)
            for name, data in {**contents, "manifest.json": raw}.items():
                self._fs.pipe_file(f"{folder}/{name}", data)
            self._write(f"{self._root}/versions/{version_id}.json", asdict(entry))
            self._record("register", by, version=version_id)
        return entry

    def point(self, alias: str, version_id: str, *, by: str, reason: str) -> None:
        """Makes `alias` name a version that exists; the old one stays in its history."""
        self.entry(version_id)
        with self._locked():
            aliases = self._aliases()
            history = aliases.setdefault(alias, [])
            if not history or history[-1] != version_id:
                history.append(version_id)
                self._write(f"{self._root}/aliases.json", aliases)
                self._record("point", by, alias=alias, version=version_id, reason=reason)

    def rollback(self, *, by: str, reason: str) -> str:
        """The champion before this one is champion again; returns its id."""
        with self._locked():
            aliases = self._aliases()
            history = aliases.get(CHAMPION, [])
            if len(history) < 2:
                raise RegistryError("there is no earlier champion to go back to; see 'opinionwatch models list'")
            dropped = history.pop()
            self._write(f"{self._root}/aliases.json", aliases)
            self._record("rollback", by, version=history[-1], dropped=dropped, reason=reason)
            return history[-1]

    def fetch(self, version_id: str) -> Path:
        """The bundle as a local folder; whoever loads it verifies it."""
        entry = self.entry(version_id)
        if self._local:
            return Path(self._root) / "versions" / version_id
        target = self._cache / f"{version_id}-{entry.digest[:16]}"
        if not target.exists():
            self._cache.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(dir=self._cache))
            for path in self._fs.ls(f"{self._root}/versions/{version_id}", detail=False):
                (partial / Path(path).name).write_bytes(self._fs.cat_file(path))
            try:
                partial.rename(target)
            except OSError:  # another process was first
                shutil.rmtree(partial)
        return target

    def verify(self, version_id: str) -> None:
        """Raises `BundleError` where the files differ from what was registered."""
        folder, entry = self.fetch(version_id), self.entry(version_id)
        if hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest() != entry.digest:
            raise BundleError(f"{folder}: manifest.json is not the one that was registered")
        check_signature(folder, self._trusted)
        verified_files(folder, read_manifest(folder))

    def audit(self) -> list[dict[str, Any]]:
        """Every change, the oldest first."""
        return [self._read(path) for path in sorted(self._fs.glob(f"{self._root}/audit/*.json"))]

    def _aliases(self) -> dict[str, list[str]]:
        path = f"{self._root}/aliases.json"
        return dict(self._read(path)) if self._fs.exists(path) else {}

    def _record(self, action: str, by: str, **more: str) -> None:
        at = _now()
        self._write(f"{self._root}/audit/{at}-{action}.json", {"at": at, "action": action, "by": by, **more})

    def _read(self, path: str) -> Any:
        self._fs.invalidate_cache()
        return json.loads(self._fs.cat_file(path))

    def _write(self, path: str, value: Any) -> None:
        data = json.dumps(value, ensure_ascii=False, indent=1).encode()
        self._fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        if self._local:
            partial = Path(f"{path}.{os.getpid()}.partial")
            partial.write_bytes(data)
            partial.replace(path)
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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
