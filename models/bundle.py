"""A model bundle: a folder with `manifest.json`, an ONNX file and `tokenizer.json`. No code, no pickle.

`read_bundle` reads each file once. It verifies these bytes before it parses any of them: the signature where keys are
given, name, size and SHA-256 of each file, then what the graph asks of the runtime. The engine uses the same bytes.
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
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.drift import Profile
from models.engine import OnnxEngine
from models.errors import BundleError as BundleError  # noqa: PLC0414 - its callers import it from here
from models.errors import BundleUnreadableError
from models.graph import ALLOWED_DOMAINS, STANDARD_DOMAIN, check_graph, check_mentions
from models.heads import OTHER, TOWARD, TOWARD_LABELS, Head
from models.inference import OutOfMemoryError, memory_is_short
from models.irony import Doubt
from models.prevalence import ScoreGroup
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
#: Errors of opening a file that cannot belong to a bundle, as opposed to errors of the disk or of permissions.
_NO_PLAIN_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENAMETOOLONG)
#: (name, limit) -> the bytes of a file of a bundle, at most limit + 1 of them; raises `FileNotFoundError`.
Read = Callable[[str, int], bytes]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileEntry(_Strict):
    """Size in bytes and SHA-256 (hex) of one file of the bundle."""

    size_bytes: int = Field(gt=0, le=MAX_FILE_BYTES)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class DoubtEntry(_Strict):
    """How the head irony changes sentiment: from which probability on, and the share that is meant badly."""

    threshold: float = Field(ge=0, le=1)
    weight: float = Field(ge=0, le=1)


class HeadEntry(_Strict):
    """A head in the manifest.

    `combine` says how the head `toward` combines the mentions of one subject: by the mean of their logits.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")
    labels: list[str] = Field(min_length=2)
    temperature: float = Field(gt=0, le=100)
    combine: Literal["mean"] | None = None
    abstain_below: float = Field(default=0, ge=0, lt=1)
    doubt: DoubtEntry | None = None

    @property
    def answers(self) -> list[str]:
        """The labels that the head may give: its classes, and `OTHER` where it abstains."""
        return [*self.labels, *([OTHER] if self.abstain_below and OTHER not in self.labels else [])]

    def head(self) -> Head:
        """Raises `ValueError` for a head that cannot be one."""
        doubt = Doubt(self.doubt.threshold, self.doubt.weight) if self.doubt else None
        return Head(self.name, tuple(self.labels), self.temperature, self.abstain_below, doubt)


Probability = Annotated[float, Field(ge=0, le=1)]


class GoldenMention(_Strict):
    """A half-open range of characters of a golden text, and the probabilities of the head `toward` for it."""

    start: int = Field(alias="from", ge=0)
    end: int = Field(alias="to", gt=0)
    probabilities: list[Probability]


class Golden(_Strict):
    """A text and the probabilities that the exported model gives it, per head, and `toward` its mentions."""

    text: str
    probabilities: dict[str, list[Probability]]
    toward: list[GoldenMention] = []


class Graph(_Strict):
    """An ONNX file of the bundle, the `domains` of its operators, and its answers to the golden texts."""

    precision: str
    model_file: str
    domains: list[str]
    golden: list[Golden]
    golden_tolerance: float = Field(gt=0, le=0.2)


class Manifest(Graph):
    """`manifest.json`. `metrics` and `training` inform people and reports; drift is measured against `reference`.

    `gpu` is a second graph of the same model, which a GPU runs instead of the first. `prevalence` has per head what
    `models.prevalence` needs to estimate shares; it is empty in bundles of 0.11 and older.
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
    prevalence: dict[str, list[ScoreGroup]] = {}


@dataclass(frozen=True)
class Bundle:
    """The verified bytes of the bundle in `folder`: its `files` by name, and `manifest.json` as `raw`."""

    folder: Path
    manifest: Manifest
    raw: bytes
    files: Mapping[str, bytes]
    signature: bytes | None = None

    @property
    def contents(self) -> dict[str, bytes]:
        """The bytes of every file by name; the manifest comes last."""
        signed = {} if self.signature is None else {SIGNATURE: self.signature}
        return {**self.files, **signed, MANIFEST: self.raw}

    def write(self, folder: Path) -> None:
        """Writes the bundle into the existing folder `folder`."""
        for name, data in self.contents.items():
            (folder / name).write_bytes(data)


def read_manifest(folder: Path) -> Manifest:
    """Reads, parses and validates the manifest; raises `BundleError`."""
    return parsed_manifest(folder, _manifest_bytes(folder, lambda name, most: _plain_file(folder / name, most)))


def parsed_manifest(folder: Path, raw: bytes) -> Manifest:
    """Parses and validates the bytes of the manifest of the bundle in `folder`; raises `BundleError`."""
    try:
        return Manifest.model_validate(json.loads(raw.decode("utf-8")))
    except (ValueError, ValidationError, RecursionError) as error:
        raise BundleError(f"{folder / MANIFEST}: {error}") from error


def read_bundle(
    folder: Path, trusted: Sequence[str] = (), digest: str | None = None, read: Read | None = None
) -> Bundle:
    """Reads each file of a bundle once and verifies these bytes.

    The manifest must have the SHA-256 `digest` (hex), and one of the `trusted` public keys, if any, must have signed
    it. With `read(name, limit)` the bytes come from elsewhere, and `folder` only appears in messages.
    Raises `BundleError`, or `BundleUnreadableError` where the system failed to return the bytes.
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
    """The files that this manifest names; raises `BundleError` where a name is not plain or has no entry."""
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
    """Reads every file of the manifest and checks its name, kind, size and SHA-256; `read` as in `read_bundle`."""
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
            raise BundleError(f"{folder / name}: its size is not the {entry.size_bytes} bytes in the manifest")
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise BundleError(f"{folder / name}: SHA-256 differs from the manifest; fetch the bundle again")
        contents[name] = data
    return contents


def check_claims(folder: Path, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Raises `BundleError` where a graph contradicts the manifest, or where no golden text can check it."""
    for entry in manifest.heads:
        try:
            entry.head()
        except ValueError as error:
            raise BundleError(f"{folder}: {error}") from None
        if entry.name == TOWARD and tuple(entry.labels) != TOWARD_LABELS:
            raise BundleError(
                f"{folder}: the head toward has the classes {', '.join(entry.labels)}; it must have "
                f"{', '.join(TOWARD_LABELS)}, in this order. Train it with these classes, or give it another name"
            )
    for graph in filter(None, (manifest, manifest.gpu)):
        if foreign := sorted(set(graph.domains) - set(ALLOWED_DOMAINS)):
            raise BundleError(f"{folder}: operator domains {foreign} are not allowed; allowed: {list(ALLOWED_DOMAINS)}")
        try:
            facts = check_graph(files[graph.model_file], graph.domains, manifest.opset if graph is manifest else None)
            check_mentions(facts, any(head.name == TOWARD for head in manifest.heads))
        except BundleError as error:
            raise BundleError(f"{folder / graph.model_file}: {error}") from None
        checked = {head for golden in graph.golden for head in golden.probabilities if head != TOWARD}
        checked |= {TOWARD for golden in graph.golden if golden.toward}
        if unchecked := {head.name for head in manifest.heads} - checked:
            raise BundleError(
                f"{folder}: no golden text checks head {', '.join(sorted(unchecked))} of {graph.model_file}. Make the"
                " bundle with 'opinionwatch train' or 'opinionwatch export', which add golden texts"
            )


def _manifest_bytes(folder: Path, read: Read) -> bytes:
    try:
        raw = read(MANIFEST, MAX_MANIFEST_BYTES)
    except FileNotFoundError:
        raise BundleError(f"{folder} is not a model bundle: manifest.json is missing") from None
    if len(raw) > MAX_MANIFEST_BYTES:
        raise BundleError(f"{folder / MANIFEST} has more than {MAX_MANIFEST_BYTES} bytes")
    return raw


def _plain_file(path: Path, expected: int) -> bytes:
    """Up to `expected` + 1 bytes of a regular file that is not a link; raises `FileNotFoundError`."""
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
    """Starts an engine on a bundle and checks its golden texts; a folder is read and verified first.

    On a GPU it runs the bundle's graph for GPUs, if any; where that graph does not start and `device` is auto, it runs
    the other graph on the CPU. Raises `BundleError` with the reason where anything differs from the manifest.
    """
    bundle = source if isinstance(source, Bundle) else read_bundle(Path(source))
    folder, manifest, contents = bundle.folder, bundle.manifest, bundle.files

    def started(graph: Graph, on: Device) -> OnnxEngine:
        engine = OnnxEngine(
            name=manifest.name,
            version=manifest.version,
            heads=[entry.head() for entry in manifest.heads],
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
            prevalence=manifest.prevalence,
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
                log.warning("%s: its graph for GPUs does not start; the CPU runs its other graph: %s", folder, error)
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
            "%s is int8, which suits a CPU; 'opinionwatch export %s --out OUT --for-gpu' adds a graph that suits a GPU",
            engine.name,
            folder,
        )
    return engine


def check_golden(engine: OnnxEngine, graph: Graph) -> None:
    """Raises `BundleError` where a golden text's probabilities differ by more than the tolerance."""
    mentions = [{str(i): [(m.start, m.end)] for i, m in enumerate(golden.toward)} for golden in graph.golden]
    predictions = engine.predict([golden.text for golden in graph.golden], mentions)
    for number, (golden, prediction) in enumerate(zip(graph.golden, predictions, strict=True)):
        checks = [
            (h, expected, list(prediction.probabilities(h).values())) for h, expected in golden.probabilities.items()
        ]
        for i, mention in enumerate(golden.toward):
            found = prediction.toward.get(str(i))
            if found is None or found.whole_text:
                raise BundleError(f"golden text {number}: the model reads no token at its mention number {i}")
            checks.append((TOWARD, mention.probabilities, list(found.probabilities.values())))
        for head, expected, got in checks:
            if len(got) != len(expected):
                raise BundleError(f"golden text {number}: head {head!r} has {len(got)} classes, not {len(expected)}")
            worst = max(abs(a - b) for a, b in zip(got, expected, strict=True))
            if not worst <= graph.golden_tolerance:
                raise BundleError(
                    f"golden text {number}, head {head!r}: probability off by {worst:.4f}, "
                    f"tolerance {graph.golden_tolerance}; the bundle does not work on this machine"
                )
