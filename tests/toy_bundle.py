"""A bundle of a few kilobytes with the heads `sentiment` and `toward`, in standard operators.

A token counts for a class if its piece is in `WORDS`: `sentiment` reads the sum over a text, and `toward` the sum over
the tokens of the mention and `REACH` tokens after it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer

from models.heads import TOWARD, TOWARD_LABELS
from pipeline.settings import STARTER

WORDS = {"▁bad": 0, "▁terrible": 0, "▁good": 2, "▁great": 2, "坏": 0, "好": 2}
REACH = 3
OPSET = 18


def toy_graph(*, toward: bool = True) -> bytes:
    """An ONNX graph by the rules above."""
    tokenizer = Tokenizer.from_file(str(STARTER / "tokenizer.json"))
    table = np.zeros((tokenizer.get_vocab_size(), 3), np.float32)
    for piece, label in WORDS.items():
        number = tokenizer.token_to_id(piece)
        assert number is not None, piece
        table[number, label] = 3
    int64, float32 = TensorProto.INT64, TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info(name, int64, ["b", "t"]) for name in ("input_ids", "attention_mask")]
    outputs = [helper.make_tensor_value_info("logits", float32, ["b", 3])]
    constants = [
        numpy_helper.from_array(table, "table"),
        numpy_helper.from_array(np.array([1], np.int64), "one"),
        numpy_helper.from_array(np.array([2], np.int64), "two"),
        numpy_helper.from_array(np.array([0, 1, 0], np.float32) / 2, "neutral"),
    ]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["read"]),
        helper.make_node("Cast", ["attention_mask"], ["real"], to=float32),
        helper.make_node("Unsqueeze", ["real", "two"], ["column"]),
        helper.make_node("Mul", ["read", "column"], ["states"]),
        helper.make_node("ReduceSum", ["states", "one"], ["sum"], keepdims=0),
        helper.make_node("Add", ["sum", "neutral"], ["logits"]),
    ]
    if toward:
        names = ("mention_row", "mention_start", "mention_end")
        inputs += [helper.make_tensor_value_info(name, int64, ["m"]) for name in names]
        outputs.append(helper.make_tensor_value_info("toward", float32, ["m", 3]))
        constants += [
            numpy_helper.from_array(np.array(0, np.int64), "zero"),
            numpy_helper.from_array(np.array(1, np.int64), "step"),
            numpy_helper.from_array(np.array([REACH], np.int64), "reach"),
        ]
        nodes += [
            helper.make_node("Shape", ["input_ids"], ["shape"]),
            helper.make_node("Gather", ["shape", "step"], ["width"]),
            helper.make_node("Range", ["zero", "width", "step"], ["position"]),
            helper.make_node("Unsqueeze", ["mention_start", "one"], ["start"]),
            helper.make_node("Add", ["mention_end", "reach"], ["far"]),
            helper.make_node("Unsqueeze", ["far", "one"], ["end"]),
            helper.make_node("GreaterOrEqual", ["position", "start"], ["after"]),
            helper.make_node("Less", ["position", "end"], ["before"]),
            helper.make_node("And", ["after", "before"], ["inside"]),
            helper.make_node("Cast", ["inside"], ["weight"], to=float32),
            helper.make_node("Unsqueeze", ["weight", "two"], ["weights"]),
            helper.make_node("Gather", ["states", "mention_row"], ["rows"]),
            helper.make_node("Mul", ["rows", "weights"], ["near"]),
            helper.make_node("ReduceSum", ["near", "one"], ["total"], keepdims=0),
            helper.make_node("Add", ["total", "neutral"], ["toward"]),
        ]
    graph = helper.make_graph(nodes, "toy", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    return bytes(model.SerializeToString())


def softmax(logits: list[float]) -> list[float]:
    exponent = np.exp(np.array(logits) - max(logits))
    return [float(p) for p in exponent / exponent.sum()]


def toy_manifest(*, toward: bool = True, version: str = "1", max_tokens: int = 32) -> dict[str, Any]:
    """The manifest without its files; the golden text has a mention that is praised."""
    golden: dict[str, Any] = {"text": "good", "probabilities": {"sentiment": softmax([0, 0.5, 3])}}
    heads: list[dict[str, Any]] = [{"name": "sentiment", "labels": list(TOWARD_LABELS), "temperature": 1.0}]
    if toward:
        heads.append({"name": TOWARD, "labels": list(TOWARD_LABELS), "temperature": 2.0, "combine": "mean"})
        golden["toward"] = [{"from": 0, "to": 4, "probabilities": softmax([0, 0.25, 1.5])}]
    return {
        "format": 1,
        "name": "toy",
        "version": version,
        "precision": "fp32",
        "heads": heads,
        "max_tokens": max_tokens,
        "model_file": "model.onnx",
        "tokenizer_file": "tokenizer.json",
        "opset": OPSET,
        "domains": ["ai.onnx"],
        "golden": [golden],
        "golden_tolerance": 0.01,
    }


def toy_bundle(folder: Path, *, graph: bytes | None = None, **fields: Any) -> Path:
    """Writes the bundle; `fields` replace those of its manifest, and `graph` its graph."""
    options = {key: fields.pop(key) for key in ("toward", "version", "max_tokens") if key in fields}
    manifest = toy_manifest(**options) | fields
    files = {
        "model.onnx": graph if graph is not None else toy_graph(toward=options.get("toward", True)),
        "tokenizer.json": (STARTER / "tokenizer.json").read_bytes(),
    }
    manifest["files"] = {
        name: {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    return folder
