"""Trained weights -> a bundle: temperatures, ONNX, dynamic int8, golden texts, manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic

from models.bundle import ALLOWED_DOMAINS
from models.engine import OnnxEngine
from models.labels import Head
from models.tokenizer import BundleTokenizer
from training.network import Classifier

OPSET = 18
GOLDEN = (
    "The new phone overheats and support never answers, I want a refund.",
    "Lovely hotel, friendly staff, we will come back next summer.",
    "Parliament votes on the budget on Thursday.",
    "新手机充电时爆炸，客服一直不回复，太失望了。",
    "房间干净，服务热情，下次还会再来。",
    "央行宣布下调存款准备金率。",
)


def fit_temperature(logits: NDArray[np.float32], allowed: NDArray[np.bool_]) -> float:
    """The temperature that minimises the set cross-entropy on held-out rows (Guo et al. 2017), by a grid.

    `logits` is float32[rows, classes], `allowed` bool of the same shape with at least one class per row.
    """

    def loss(temperature: float) -> float:
        scaled = logits / temperature
        log_all = np.logaddexp.reduce(scaled, axis=1)
        log_hit = np.logaddexp.reduce(np.where(allowed, scaled, -np.inf), axis=1)
        return float((log_all - log_hit).mean())

    return float(min(np.geomspace(0.5, 3.0, 60), key=loss))


def export_bundle(
    model: Classifier,
    definition: str,
    heads: Mapping[str, Sequence[str]],
    temperatures: Mapping[str, float],
    out: Path,
    *,
    name: str,
    version: str,
    max_tokens: int,
    maps: Mapping[str, Mapping[str, Sequence[str]]],
) -> Path:
    """Writes `out` (manifest, `model.int8.onnx`, `tokenizer.json` = `definition`) and returns it."""
    out.mkdir(parents=True, exist_ok=True)
    full = out / "model.fp32.onnx"
    example = torch.ones(2, 8, dtype=torch.long)
    torch.onnx.export(
        model.eval(),
        (example, example),
        str(full),
        input_names=["input_ids", "attention_mask"],
        output_names=["logits"],
        opset_version=OPSET,
        dynamic_axes={"input_ids": {0: "b", 1: "t"}, "attention_mask": {0: "b", 1: "t"}, "logits": {0: "b"}},
        dynamo=False,
    )
    small = out / "model.int8.onnx"
    quantize_dynamic(
        full,
        small,
        per_channel=True,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["MatMul", "Gather", "Gemm"],
        extra_options={"DefaultTensorType": 1},
    )
    full.unlink()
    (out / "tokenizer.json").write_text(definition, "utf-8")
    domains = {o.domain or "ai.onnx" for o in onnx.load(small).opset_import} & set(ALLOWED_DOMAINS)
    entries = [Head(head, tuple(labels), temperatures[head]) for head, labels in heads.items()]
    engine = OnnxEngine(
        name=name,
        version=version,
        heads=entries,
        tokenizer=BundleTokenizer(definition, max_tokens),
        model=small.read_bytes(),
        device="cpu",
    )
    golden = [
        {"text": text, "probabilities": {h: list(p.probabilities(h).values()) for h in heads}}
        for text, p in zip(GOLDEN, engine.predict(GOLDEN), strict=True)
    ]
    files = {}
    for file in ("model.int8.onnx", "tokenizer.json"):
        data = (out / file).read_bytes()
        files[file] = {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest = {
        "format": 1,
        "name": name,
        "version": version,
        "heads": [{"name": h.name, "labels": list(h.labels), "temperature": h.temperature} for h in entries],
        "max_tokens": max_tokens,
        "precision": "int8",
        "model_file": "model.int8.onnx",
        "tokenizer_file": "tokenizer.json",
        "files": files,
        "opset": OPSET,
        "domains": sorted(domains),
        "golden": golden,
        "golden_tolerance": 0.05,
        "label_maps": {k: {raw: list(classes) for raw, classes in v.items()} for k, v in maps.items()},
    }
    (out / "manifest.json").write_text(json.dumps(manifest, ensure_ascii=False, indent=1), "utf-8")
    return out
