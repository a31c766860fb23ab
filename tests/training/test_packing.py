"""A packed graph, which only a GPU runs, computed operator by operator from ONNX Runtime's documentation of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from models import load_bundle
from models.batching import padded
from models.bundle import read_manifest
from models.registry import Registry
from models.runtimes import EngineError
from pipeline.settings import STARTER
from tests.training.conftest import HEADS, toy_encoder
from training.bundle.export import export_onnx, fuse
from training.config import TrainingConfigError
from training.network.encoder import Classifier
from training.train import export, export_for_gpu

ROWS = [[2, 5, 6, 3], [2, 7, 8, 9, 10, 11, 12, 3], [2, 20, 3], [2, *range(30, 50), 3]]
computed: list[int] = []


class RemovePadding(OpRun):
    op_domain = "com.microsoft"

    def _run(self, x: Any, counts: Any) -> tuple[Any, ...]:
        batch, width, _ = x.shape
        real = np.arange(width)[None] < counts[:, None]
        flat, places = x.reshape(batch * width, -1), np.arange(batch * width).reshape(batch, width)
        offset = np.concatenate([places[real], places[~real]]).reshape(batch, width).astype(np.int32)
        ends = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        return flat[places[real]], offset, ends, np.array([counts.max()], np.int32)


class RestorePadding(OpRun):
    op_domain = "com.microsoft"

    def _run(self, x: Any, offset: Any) -> tuple[Any, ...]:
        batch, width = offset.shape
        out = np.zeros((batch * width, x.shape[1]), x.dtype)
        out[offset.reshape(-1)[: len(x)]] = x
        return (out.reshape(batch, width, -1),)


class PackedAttention(OpRun):
    op_domain = "com.microsoft"

    def _run(self, x: Any, weights: Any, bias: Any, _offset: Any, ends: Any, *_none: Any, num_heads: int) -> Any:
        computed.append(len(x))
        q, k, v = np.split(x.astype(np.float32) @ weights.astype(np.float32) + bias, 3, axis=1)
        size, out = q.shape[1] // num_heads, np.zeros(q.shape, np.float32)
        for a, b in zip(ends[:-1], ends[1:], strict=True):
            for h in range(num_heads):
                part = slice(h * size, (h + 1) * size)
                scores = np.exp(q[a:b, part] @ k[a:b, part].T / np.sqrt(size))
                out[a:b, part] = scores / scores.sum(1, keepdims=True) @ v[a:b, part]
        return (out.astype(x.dtype),)


class GatherElements(OpRun):
    """onnx's own stops at an index of another shape than its input's."""

    def _run(self, x: Any, index: Any, axis: int = 0) -> tuple[Any, ...]:
        return (np.take_along_axis(x, index, axis),)


class SkipLayerNormalization(OpRun):
    op_domain = "com.microsoft"

    def _run(self, x: Any, skip: Any, gamma: Any, beta: Any, bias: Any, **attributes: Any) -> Any:
        total = x.astype(np.float32) + skip + bias
        spread = np.sqrt(total.var(-1, keepdims=True) + attributes["epsilon"])
        return (((total - total.mean(-1, keepdims=True)) / spread * gamma + beta).astype(x.dtype),)


class BiasGelu(OpRun):
    op_domain = "com.microsoft"

    def _run(self, x: Any, bias: Any) -> Any:
        return (torch.nn.functional.gelu(torch.from_numpy((x + bias).astype(np.float32))).numpy().astype(x.dtype),)


@pytest.mark.parametrize(("half", "within"), [(False, 1e-4), (True, 1e-2)])
def test_packed_it_gives_the_same_logits_and_computes_no_padding(tmp_path: Path, half: bool, within: float) -> None:
    model = Classifier(toy_encoder(), HEADS, 0.0).eval()
    with torch.no_grad():
        model.output.weight.mul_(20)  # so that a wrong state shows in the logits
    graph = onnx.load(fuse(export_onnx(model, tmp_path), model, half=half, packed=True))
    ids, mask = padded(ROWS)
    with torch.inference_mode():
        expected = model(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
    operators = [RemovePadding, RestorePadding, PackedAttention, SkipLayerNormalization, BiasGelu, GatherElements]
    computed.clear()
    [got] = ReferenceEvaluator(graph, new_ops=operators).run(None, {"input_ids": ids, "attention_mask": mask})
    assert np.abs(got - expected).max() < within * np.abs(expected).max()
    assert np.ptp(expected) > 0.1
    assert computed == [sum(map(len, ROWS))] * 2, "each layer sees the real tokens only"


def test_a_packed_bundle_is_refused_where_there_is_no_gpu_with_the_way_out(tmp_path: Path) -> None:
    packed = export(STARTER, tmp_path / "packed", "fp16-packed")
    with pytest.raises(EngineError, match=r"Padding does not run on this machine.*needs a GPU.*int8"):
        load_bundle(packed, device="cpu")


def test_a_bundle_for_both_serves_without_a_gpu_and_goes_through_the_registry(tmp_path: Path) -> None:
    with pytest.raises(TrainingConfigError, match="the bundle itself"):
        export_for_gpu(STARTER, STARTER)
    both = export_for_gpu(STARTER, tmp_path / "both")
    manifest, plain = read_manifest(both), read_manifest(STARTER)
    assert (manifest.version, manifest.precision) == (f"{plain.version}-gpu", "int8")
    assert manifest.gpu is not None
    assert (manifest.gpu.precision, manifest.reference) == ("fp16-packed", plain.reference)
    for ours, theirs in zip(manifest.gpu.golden, plain.golden, strict=True):
        for head, expected in theirs.probabilities.items():
            assert np.allclose(ours.probabilities[head], expected, atol=0.05), "the same model"
    registry = Registry(str(tmp_path / "registry"))
    fetched = registry.fetch(registry.register(both, by="test").id)
    assert (fetched / manifest.gpu.model_file).read_bytes() == (both / manifest.gpu.model_file).read_bytes()
    label = load_bundle(fetched, device="cpu").predict(["I love it"])[0].label("sentiment")
    assert label == load_bundle(STARTER, device="cpu").predict(["I love it"])[0].label("sentiment")
