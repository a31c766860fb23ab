"""A model bundle: a folder with `manifest.json`, an ONNX file and `tokenizer.json`. No code, no pickle.

Everything is verified before anything is parsed: names, sizes and SHA-256 of each file.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.drift import Profile
from models.engine import OnnxEngine
from models.labels import Head
from models.longtexts import LongTexts
from models.runtimes import CUDA_PROVIDER, Device, EngineError, Runtime, wants_cuda
from models.tokenizer import BundleTokenizer

log = logging.getLogger(__name__)
FORMAT = 1
MAX_FILE_BYTES = 2_000_000_000
STANDARD_DOMAIN = "ai.onnx"
ALLOWED_DOMAINS = (STANDARD_DOMAIN, "com.microsoft")


class BundleError(ValueError):
    """The bundle is refused; the message names the file or field and the reason."""


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
    probabilities: dict[str, list[float]]


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


def read_manifest(folder: Path) -> Manifest:
    """Parses and validates the manifest; raises `BundleError`."""
    path = folder / "manifest.json"
    try:
        return Manifest.model_validate(json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        raise BundleError(f"{folder} is no model bundle: manifest.json is missing") from None
    except (OSError, ValueError, ValidationError) as error:
        raise BundleError(f"{path}: {error}") from error


def verified_files(folder: Path, manifest: Manifest) -> dict[str, bytes]:
    """The bytes of every file of the manifest, after checks of name, kind, size and SHA-256."""
    contents: dict[str, bytes] = {}
    gpu = [manifest.gpu.model_file] if manifest.gpu else []
    for name in (manifest.model_file, manifest.tokenizer_file, *gpu):
        entry = manifest.files.get(name)
        if entry is None:
            raise BundleError(f"{folder}: manifest.files has no entry for {name}")
        path = folder / name
        if Path(name).name != name or path.is_symlink() or not path.is_file():
            raise BundleError(f"{folder}: {name} is not a plain file inside the bundle")
        if path.stat().st_size != entry.size_bytes:
            raise BundleError(f"{path}: {path.stat().st_size} bytes, the manifest says {entry.size_bytes}")
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise BundleError(f"{path}: SHA-256 differs from the manifest; fetch the bundle again")
        contents[name] = data
    return contents


def load_bundle(
    path: str | Path,
    device: Device = "auto",
    *,
    runtime: Runtime = "auto",
    threads: int | None = None,
    gpu_memory_mb: int = 0,
    long_texts: LongTexts = "head",
) -> OnnxEngine:
    """Verifies a bundle, starts an engine on it and checks its golden texts.

    Its graph for a GPU is taken where there is one; where that does not start and `device` is auto, the other. Raises
    `BundleError` with the reason where anything differs from the manifest.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    for graph in filter(None, (manifest, manifest.gpu)):
        if foreign := sorted(set(graph.domains) - set(ALLOWED_DOMAINS)):
            raise BundleError(f"{folder}: operator domains {foreign} are not allowed; allowed: {list(ALLOWED_DOMAINS)}")
    contents = verified_files(folder, manifest)

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
    except Exception as error:
        raise BundleError(f"{folder}: the model cannot be started: {type(error).__name__}: {error}") from error
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
            if worst > graph.golden_tolerance:
                raise BundleError(
                    f"golden text {number}, head {head!r}: probability off by {worst:.4f}, "
                    f"tolerance {graph.golden_tolerance}; the bundle does not work on this machine"
                )
