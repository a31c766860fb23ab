"""Baselines for `bench engine`: other ways to run the same bundle."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from tokenizers import Tokenizer

from models.batching import by_length, padded
from models.bundle import load_bundle, read_manifest
from models.engine import OnnxEngine, usable_cores
from models.runtimes import EngineError, import_openvino
from training.bundle.export import engine_with, export_onnx, fuse
from training.config import TrainingConfigError
from training.data.tensors import encode, pad
from training.evaluation.evaluate import probabilities_of
from training.network.encoder import Classifier
from training.network.from_bundle import from_bundle
from training.network.predict import predict

Labels = dict[str, NDArray[np.int64]]
Baseline = Callable[[Sequence[str]], Labels]


@dataclass(frozen=True)
class Baselines:
    """Functions from texts to class indexes per head; `parameters` counts the weights of the matrix products."""

    by_name: dict[str, Baseline]
    parameters: int


NAMES = ("pipeline", "pipeline-32", "torch-fp32", "torch-bf16", "ort-fp32", "ort-int8", "openvino-nncf")


def open_baselines(bundle: Path, names: Sequence[str]) -> Baselines:
    """Opens baselines of a bundle: transformers with single texts and unsorted batches of 32, torch, other runtimes.

    `openvino-nncf` is OpenVINO in int8 quantised by its own tool NNCF; both must be installed.
    """
    torch.set_num_threads(usable_cores())
    manifest = read_manifest(bundle)
    heads = {h.name: h.labels for h in manifest.heads}
    model, tokenizer_json = from_bundle(bundle, heads, 0.0)
    model.eval()
    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokens = manifest.max_tokens

    def pipeline(size: int) -> Baseline:
        def run(texts: Sequence[str]) -> Labels:
            parts = [_unsorted(model, tokenizer, texts[i : i + size], tokens) for i in range(0, len(texts), size)]
            return {h: np.concatenate([p[h] for p in parts]) for h in heads}

        return run

    def torch_run(dtype: torch.dtype | None) -> Baseline:
        def run(texts: Sequence[str]) -> Labels:
            with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
                return {h: p.argmax(1).numpy() for h, p in predict(model, tokenizer, texts, tokens, 1024).items()}

        return run

    def fp32() -> Baseline:
        with tempfile.TemporaryDirectory() as work:
            engine = engine_with(fuse(export_onnx(model, Path(work)), model), bundle)
        return lambda texts: labels_of(engine, texts)

    def nncf_int8() -> Baseline:
        try:
            openvino = import_openvino()
            import nncf
        except EngineError as error:
            raise TrainingConfigError(f"openvino-nncf: {error}") from None
        except ImportError:
            raise TrainingConfigError("openvino-nncf: nncf is missing: pip install nncf") from None
        with tempfile.TemporaryDirectory() as work:
            graph = openvino.Core().read_model(str(export_onnx(model, Path(work))))
        made: list[Any] = []

        def named(rows: Sequence[Sequence[int]]) -> dict[str, NDArray[np.int64]]:
            return dict(zip(("input_ids", "attention_mask"), padded(rows), strict=True))

        def run(texts: Sequence[str]) -> Labels:
            ids = encode(tokenizer, texts, tokens)
            if not made:  # the warm-up calibrates
                sample = nncf.Dataset([named([row]) for row in ids])
                small = nncf.quantize(graph, sample, model_type=nncf.ModelType.TRANSFORMER)
                made.append(openvino.Core().compile_model(small, "CPU", {"PERFORMANCE_HINT": "LATENCY"}))
            logits = np.zeros((len(ids), sum(map(len, heads.values()))), np.float32)
            for group in by_length([len(row) for row in ids], 1024):
                logits[group] = made[0](named([ids[i] for i in group]))[0]
            ends = np.cumsum([len(labels) for labels in heads.values()])[:-1]
            return {h: part.argmax(1) for h, part in zip(heads, np.split(logits, ends, axis=1), strict=True)}

        return run

    makers: dict[str, Callable[[], Baseline]] = {
        "pipeline": lambda: pipeline(1),
        "pipeline-32": lambda: pipeline(32),
        "torch-fp32": lambda: torch_run(None),
        "torch-bf16": lambda: torch_run(torch.bfloat16),
        "ort-fp32": fp32,
        "ort-int8": lambda: partial(labels_of, load_bundle(bundle, "cpu", runtime="onnxruntime")),
        "openvino-nncf": nncf_int8,
    }
    layers = [m for m in model.encoder.modules() if isinstance(m, torch.nn.Linear)]
    return Baselines({n: makers[n]() for n in names}, sum(m.weight.numel() for m in layers))


def labels_of(engine: OnnxEngine, texts: Sequence[str]) -> Labels:
    """Class indexes per head."""
    return {h: p.argmax(1) for h, p in probabilities_of(engine, texts).items()}


def gemm_roof(precision: str, seconds: float = 1.5) -> float:
    """Billions of multiply-adds per second in the machine's fastest matrix product in ONNX Runtime."""
    m, k, n = 1024, 384, 1536
    if precision == "int8":
        weight = np.random.default_rng(0).integers(-100, 100, (k, n)).astype(np.int8)
        given, kind = np.random.default_rng(1).integers(0, 200, (m, k)).astype(np.uint8), TensorProto.UINT8
        node, result = helper.make_node("MatMulInteger", ["x", "w"], ["y"]), TensorProto.INT32
    else:
        weight = np.random.default_rng(0).normal(size=(k, n)).astype(np.float32)
        given, kind = np.random.default_rng(1).normal(size=(m, k)).astype(np.float32), TensorProto.FLOAT
        node, result = helper.make_node("MatMul", ["x", "w"], ["y"]), TensorProto.FLOAT
    graph = helper.make_graph(
        [node],
        "gemm",
        [helper.make_tensor_value_info("x", kind, [m, k])],
        [helper.make_tensor_value_info("y", result, [m, n])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    options = ort.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    session: Any = ort.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    session.run(None, {"x": given})
    best, ends = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < ends:
        started = time.perf_counter()
        session.run(None, {"x": given})
        best = min(best, time.perf_counter() - started)
    return m * k * n / best / 1e9


def _unsorted(model: Classifier, tokenizer: Tokenizer, texts: Sequence[str], tokens: int) -> Labels:
    tokenizer.enable_truncation(tokens)
    with torch.inference_mode():
        logits = model.split(model(*pad([e.ids for e in tokenizer.encode_batch(list(texts))])))
    return {h: x.argmax(1).numpy() for h, x in logits.items()}
