"""A model bundle: a folder with `manifest.json`, an ONNX file and `tokenizer.json`. No code, no pickle.

Each file is read once. Everything is verified on these bytes before anything is parsed (the signature where keys are
given, names, sizes and SHA-256 of each file, then what the graph asks for), and the engine is made of the same bytes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.drift import Profile
from models.engine import OnnxEngine, OutOfMemoryError, memory_is_short
from models.errors import BundleError as BundleError  # noqa: PLC0414 - its callers import it from here
from models.errors import BundleUnreadableError
from models.graph import ALLOWED_DOMAINS, STANDARD_DOMAIN, check_graph
from models.heads import Head
from models.runtimes import CUDA_PROVIDER, Device, EngineError, Runtime, wants_cuda
from models.signing import SIGNATURE, check_signed
from models.tokenizer import BundleTokenizer
from models.truncation import LongTexts

log = logging.getLogger(__name__)
FORMAT = 1
MANIFEST = "manifest.json"
MAX_FILE_BYTES = 2_000_000_000
MAX_BUNDLE_BYTES = 4_000_000_000
MAX_MANIFEST_BYTES = 16_000_000
MAX_SIGNATURE_BYTES = 4096
#: What the system says of a file that is not as a bundle's files are, rather than of a disk or a right that fails.
_NO_PLAIN_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENAMETOOLONG)
#: The bytes of a file of a bundle by its name, at most one more than the number given; `FileNotFoundError` without it.
Read = Callable[[str, int], bytes]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileEntry(_Strict):
    """Size in bytes and SHA-256 (hex) of one file of the bundle."""

    size_bytes: int = Field(gt=0, le=MAX_FILE_BYTES)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class HeadEntry(_Strict):
    """A head as the manifest writes it."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")
    labels: list[str] = Field(min_length=2)
    temperature: float = Field(gt=0, le=100)


class Golden(_Strict):
    """A text and the probabilities that the exported model gave it, per head."""

    text: str
    probabilities: dict[str, list[Annotated[float, Field(ge=0, le=1)]]]


class Graph(_Strict):
    """An ONNX file of the bundle and what it says of the golden texts; `domains` of its operators."""

    precision: str
    model_file: str
    domains: list[str]
    golden: list[Golden]
    golden_tolerance: float = Field(gt=0, le=0.2)


class Manifest(Graph):
    """`manifest.json`; `metrics` and `training` are for people and reports, `reference` is for drift.

    `gpu` is another graph of the same model, which a GPU runs in place of the first.
    """

    format: int = Field(ge=FORMAT, le=FORMAT)
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    version: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    heads: list[HeadEntry] = Field(min_length=1)
    max_tokens: int = Field(ge=8, le=8192)
    tokenizer_file: str
    files: dict[str, FileEntry]
    opset: int
    gpu: Graph | None = None
    metrics: dict[str, float] = {}
    label_maps: dict[str, dict[str, list[str]]] = {}
    training: dict[str, str | int | float] = {}
    reference: Profile | None = None


@dataclass(frozen=True)
class Bundle:
    """The bytes of a bundle as they were read from `folder` and verified: `files` by name, `manifest.json` as `raw`."""

    folder: Path
    manifest: Manifest
    raw: bytes
    files: Mapping[str, bytes]
    signature: bytes | None = None

    @property
    def contents(self) -> dict[str, bytes]:
        """The bytes of every file, the manifest's last."""
        signed = {} if self.signature is None else {SIGNATURE: self.signature}
        return {**self.files, **signed, MANIFEST: self.raw}

    def write(self, folder: Path) -> None:
        """Writes the bundle into `folder`, which exists."""
        for name, data in self.contents.items():
            (folder / name).write_bytes(data)


def read_manifest(folder: Path) -> Manifest:
    """Parses and validates the manifest; raises `BundleError`."""
    return parsed_manifest(folder, _manifest_bytes(folder, lambda name, most: _plain_file(folder / name, most)))


def parsed_manifest(folder: Path, raw: bytes) -> Manifest:
    """The manifest of the bundle in `folder`, from its bytes; raises `BundleError`."""
    try:
        return Manifest.model_validate(json.loads(raw.decode("utf-8")))
    except (ValueError, ValidationError, RecursionError) as error:
        raise BundleError(f"{folder / MANIFEST}: {error}") from error


def read_bundle(
    folder: Path, trusted: Sequence[str] = (), digest: str | None = None, read: Read | None = None
) -> Bundle:
    """Reads each file of a bundle once and verifies these bytes.

    `digest` is the SHA-256 (hex) that the manifest must have; one of the `trusted` public keys, where there are any,
    must have signed it. `read(name, most)` gives a file's bytes from elsewhere, `folder` then stands in messages.
    Raises `BundleError`, and `BundleUnreadableError` where the system did not give the bytes.
    """
    read = read or (lambda name, most: _plain_file(folder / name, most))
    raw = _manifest_bytes(folder, read)
    if digest is not None and hashlib.sha256(raw).hexdigest() != digest:
        raise BundleError(f"{folder}: manifest.json is not the one that was registered")
    try:
        signature = read(SIGNATURE, MAX_SIGNATURE_BYTES)
    except FileNotFoundError:
        signature = None
    check_signed(raw, signature, trusted, folder)
    manifest = parsed_manifest(folder, raw)
    files = verified_files(folder, manifest, read)
    check_claims(folder, manifest, files)
    return Bundle(folder, manifest, raw, files, signature)


def files_of(manifest: Manifest) -> dict[str, FileEntry]:
    """The files that make a bundle of this manifest; raises `BundleError` where one has no plain name or no entry."""
    found: dict[str, FileEntry] = {}
    gpu = [manifest.gpu.model_file] if manifest.gpu else []
    for name in (manifest.model_file, manifest.tokenizer_file, *gpu):
        entry = manifest.files.get(name)
        if entry is None:
            raise BundleError(f"manifest.files has no entry for {name}")
        if Path(name).name != name or name in {MANIFEST, SIGNATURE} or "\0" in name:
            raise BundleError(f"{name} is not a plain file inside the bundle")
        found[name] = entry
    if (total := sum(entry.size_bytes for entry in found.values())) > MAX_BUNDLE_BYTES:
        raise BundleError(f"the files have {total} bytes together; at most {MAX_BUNDLE_BYTES} are loaded")
    return found


def verified_files(folder: Path, manifest: Manifest, read: Read | None = None) -> dict[str, bytes]:
    """The bytes of every file of the manifest, after checks of name, kind, size and SHA-256; `read` as above."""
    read = read or (lambda name, most: _plain_file(folder / name, most))
    contents: dict[str, bytes] = {}
    try:
        wanted = files_of(manifest)
    except BundleError as error:
        raise BundleError(f"{folder}: {error}") from None
    for name, entry in wanted.items():
        try:
            data = read(name, entry.size_bytes)
        except FileNotFoundError:
            raise BundleError(f"{folder}: {name} is missing") from None
        if len(data) != entry.size_bytes:
            raise BundleError(f"{folder / name}: not the {entry.size_bytes} bytes that the manifest says")
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise BundleError(f"{folder / name}: SHA-256 differs from the manifest; fetch the bundle again")
        contents[name] = data
    return contents


def check_claims(folder: Path, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Raises `BundleError` where a graph is not what the manifest says of it, or cannot be checked by golden texts."""
    for graph in filter(None, (manifest, manifest.gpu)):
        if foreign := sorted(set(graph.domains) - set(ALLOWED_DOMAINS)):
            raise BundleError(f"{folder}: operator domains {foreign} are not allowed; allowed: {list(ALLOWED_DOMAINS)}")
        try:
            check_graph(files[graph.model_file], graph.domains, manifest.opset if graph is manifest else None)
        except BundleError as error:
            raise BundleError(f"{folder / graph.model_file}: {error}") from None
        unchecked = {h.name for h in manifest.heads}.difference(*(golden.probabilities for golden in graph.golden))
        if unchecked:
            raise BundleError(
                f"{folder}: no golden text checks head {', '.join(sorted(unchecked))} of {graph.model_file}, so nothing"
                " shows that it works here; make the bundle with 'opinionwatch train' or 'opinionwatch export'"
            )


def _manifest_bytes(folder: Path, read: Read) -> bytes:
    try:
        raw = read(MANIFEST, MAX_MANIFEST_BYTES)
    except FileNotFoundError:
        raise BundleError(f"{folder} is no model bundle: manifest.json is missing") from None
    if len(raw) > MAX_MANIFEST_BYTES:
        raise BundleError(f"{folder / MANIFEST} has more than {MAX_MANIFEST_BYTES} bytes")
    return raw


def _plain_file(path: Path, expected: int) -> bytes:
    """The bytes of a file that is no link, up to one more than expected; `FileNotFoundError` where there is none."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise BundleError(f"{path} is not a plain file inside the bundle")
            return file.read(min(found.st_size, expected) + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in _NO_PLAIN_FILE:
            raise BundleError(f"{path} is not a plain file inside the bundle") from None
        raise BundleUnreadableError(f"{path} cannot be read: {error.strerror}") from error


def load_bundle(
    source: str | Path | Bundle,
    device: Device = "auto",
    *,
    runtime: Runtime = "auto",
    threads: int | None = None,
    gpu_memory_mb: int = 0,
    long_texts: LongTexts = "head",
) -> OnnxEngine:
    """Starts an engine on a bundle (a folder is read and verified first) and checks its golden texts.

    Its graph for a GPU is taken where there is one; where that does not start and `device` is auto, the other. Raises
    `BundleError` with the reason where anything differs from the manifest.
    """
    bundle = source if isinstance(source, Bundle) else read_bundle(Path(source))
    folder, manifest, contents = bundle.folder, bundle.manifest, bundle.files

    def started(graph: Graph, on: Device) -> OnnxEngine:
        engine = OnnxEngine(
            name=manifest.name,
            version=manifest.version,
            heads=[Head(h.name, tuple(h.labels), h.temperature) for h in manifest.heads],
            tokenizer=BundleTokenizer(
                contents[manifest.tokenizer_file].decode("utf-8"), manifest.max_tokens, long_texts
            ),
            model=contents[graph.model_file],
            device=on,
            runtime=runtime,
            standard=set(graph.domains) <= {STANDARD_DOMAIN},
            threads=threads,
            gpu_memory_mb=gpu_memory_mb,
            reference=manifest.reference,
        )
        check_golden(engine, graph)
        return engine

    try:
        if manifest.gpu and runtime != "openvino" and wants_cuda(device):
            try:
                return started(manifest.gpu, "cuda")
            except EngineError as error:
                if device == "cuda":
                    raise
                log.warning("%s: its graph for a GPU does not start, the other runs on the CPU: %s", folder, error)
                device = "cpu"
        engine = started(manifest, device)
    except (BundleError, EngineError):
        raise
    except BaseException as error:
        if memory_is_short(error):
            raise OutOfMemoryError(f"{folder}: the model does not fit into the memory that is free") from error
        what = f"{folder}: the model cannot be started: {type(error).__name__}: {error}"
        if isinstance(error, OSError):
            raise BundleUnreadableError(what) from error
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":  # of a library in Rust
            raise BundleError(what) from error
        raise
    if manifest.precision == "int8" and engine.provider == CUDA_PROVIDER:
        log.warning(
            "%s is int8, made for a CPU; 'opinionwatch export %s --out OUT --for-gpu' adds what a GPU runs fast",
            engine.name,
            folder,
        )
    return engine


def check_golden(engine: OnnxEngine, graph: Graph) -> None:
    """Raises `BundleError` where a golden text's probabilities differ by more than the tolerance."""
    predictions = engine.predict([golden.text for golden in graph.golden])
    for number, (golden, prediction) in enumerate(zip(graph.golden, predictions, strict=True)):
        for head, expected in golden.probabilities.items():
            got = list(prediction.probabilities(head).values())
            if len(got) != len(expected):
                raise BundleError(f"golden text {number}: head {head!r} has {len(got)} classes, not {len(expected)}")
            worst = max(abs(a - b) for a, b in zip(got, expected, strict=True))
            if not worst <= graph.golden_tolerance:
                raise BundleError(
                    f"golden text {number}, head {head!r}: probability off by {worst:.4f}, "
                    f"tolerance {graph.golden_tolerance}; the bundle does not work on this machine"
                )
