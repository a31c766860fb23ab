"""Static int8 for a BERT graph: small, the same on every processor, and close to fp32.

- Activations: one uint8 scale per tensor, fixed from calibration texts, the range that loses least (mean squared
  error). So a label does not depend on what else is in the batch, as it does where scales are found at run time.
- Smoothing (Xiao et al. 2023, SmoothQuant, here of outliers only): a channel whose largest value exceeds so many times
  that of the median channel is divided down, its weights multiplied up. How many times, each product says for itself:
  those of `OUTLIERS` that lose least by rounding inputs and weights.
- Weights: int8 per output channel, by GPTQ (Frantar et al. 2023): each input channel is rounded in turn, and those
  after it make up for the error, weighed by how the calibration inputs go together.
- No saturation: processors without VNNI add neighbouring products in int16. |w_k| + |w_k+1| <= 128 keeps
  255 * 128 below 2 ** 15, so they give what the others give (ONNX Runtime's `reduce_range` costs a whole bit instead).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from models.batching import padded

Floats = NDArray[np.float64]
OUTLIERS = (math.inf, 4.0, 3.0, 2.0, 1.5, 1.0)
#: Suffix of the vector that a product's input is multiplied by; `restore.py` undoes it.
UNSMOOTH = "_unsmooth"
QUANTIZED, SCALE, ZERO_POINT = "_quantized", "_scale", "_zero_point"
_PAIR = 128
_SHRINKS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
_BATCH = 16
#: Token vectors kept per tensor: several for each of the most input channels.
_KEPT = 6000
_DAMPING = 0.01
#: Of them, those that the divisors are tried on.
_TRIED = 1500


@dataclass(frozen=True, slots=True)
class _Range:
    scale: float
    zero: int


def quantize_static(plain: Path, out: Path, rows: Sequence[Sequence[int]]) -> None:
    """Writes `out`, the int8 graph of `plain` (standard operators only); `rows`: token ids of calibration texts.

    Products get QuantizeLinear and DequantizeLinear pairs (QDQ), which every runtime knows how to fuse; embedding
    tables become int8 with a scale per row; the heads, a thousandth of the work, stay in fp32.
    """
    graph = onnx.load(plain)
    inputs = _smooth(graph, _observed(graph, rows))
    constants = {i.name: i for i in graph.graph.initializer}
    products = {n.name for n in _products(graph)}
    nodes, replaced, quantized = [], set[str](), set[str]()
    for node in graph.graph.node:
        if node.name in products:
            given, kernel = node.input[0], node.input[1]
            if given not in quantized:
                quantized.add(given)
                nodes += _activation(graph, given, _range(inputs[given]))
            values, scale = _rounded(numpy_helper.to_array(constants[kernel]).astype(np.float64), inputs[given])
            nodes.append(_kernel(graph, kernel, values, scale))
            node.input[0], node.input[1] = f"{given}_dequantized", f"{kernel}_dequantized"
            replaced.add(kernel)
        if node.op_type == "Gather" and (table := constants.get(node.input[0])) is not None and len(table.dims) == 2:
            nodes += _embedding(graph, node, numpy_helper.to_array(table))
            replaced.add(table.name)
        else:
            nodes.append(node)
    _put(graph, nodes, replaced)
    onnx.save(graph, out)


def _activation(graph: onnx.ModelProto, name: str, found: _Range) -> list[onnx.NodeProto]:
    scale, zero = f"{name}_scale", f"{name}_zero_point"
    _add(graph, scale, np.array(found.scale, np.float32))
    _add(graph, zero, np.array(found.zero, np.uint8))
    small, back = f"{name}_quantized", f"{name}_dequantized"
    return [
        helper.make_node("QuantizeLinear", [name, scale, zero], [small], name=small),
        helper.make_node("DequantizeLinear", [small, scale, zero], [back], name=back),
    ]


def _kernel(graph: onnx.ModelProto, name: str, values: NDArray[np.int8], scale: NDArray[np.float32]) -> onnx.NodeProto:
    parts = [name + suffix for suffix in (QUANTIZED, SCALE, ZERO_POINT)]
    _add(graph, parts[0], values)
    _add(graph, parts[1], scale)
    _add(graph, parts[2], np.zeros(len(scale), np.int8))
    back = f"{name}_dequantized"
    return helper.make_node("DequantizeLinear", parts, [back], name=back, axis=1)


def _embedding(graph: onnx.ModelProto, gather: onnx.NodeProto, table: NDArray[np.float32]) -> list[onnx.NodeProto]:
    """The table in int8, with a scale per row; what is gathered from it is turned back by the scales of its rows."""
    name, ids, result = gather.input[0], gather.input[1], gather.output[0]
    scale = np.maximum(np.abs(table).max(1, keepdims=True) / 127, 1e-12)
    _add(graph, name + QUANTIZED, np.round(table / scale).astype(np.int8))
    _add(graph, name + SCALE, scale.astype(np.float32))
    small, scales, plain = f"{result}_quantized", f"{result}_scale", f"{result}_plain"
    gather.input[0], gather.output[0] = name + QUANTIZED, small
    return [
        gather,
        helper.make_node("Gather", [name + SCALE, ids], [scales], name=scales),
        helper.make_node("Cast", [small], [plain], name=plain, to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", [plain, scales], [result], name=f"{result}_dequantize"),
    ]


def _products(graph: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Nodes that multiply by a constant matrix [in, out]."""
    constants = {i.name for i in graph.graph.initializer}
    return [n for n in graph.graph.node if n.op_type == "MatMul" and n.input[1] in constants]


def _observed(graph: onnx.ModelProto, rows: Sequence[Sequence[int]]) -> dict[str, Floats]:
    """Input of each product -> float64[<= _KEPT, channels], of real tokens only."""
    names = sorted({n.input[0] for n in _products(graph)})
    watched = onnx.ModelProto()
    watched.CopyFrom(graph)
    watched.graph.output.extend(helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in names)
    session = ort.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    kept: dict[str, list[Floats]] = {name: [] for name in names}
    rng, share = np.random.default_rng(17), min(1.0, _KEPT / sum(map(len, rows)))
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH]
        ids, mask = padded(batch)
        real = mask.astype(np.bool_) & (rng.random(mask.shape) < share)
        for name, value in zip(names, session.run(names, {"input_ids": ids, "attention_mask": mask}), strict=True):
            kept[name].append(np.asarray(value if value.ndim == 2 else value[real], np.float64))
    return {name: np.concatenate(parts) for name, parts in kept.items()}


def _smooth(graph: onnx.ModelProto, observed: Mapping[str, Floats]) -> dict[str, Floats]:
    """Puts a multiplication before each product whose input has outlier channels; returns the inputs after it."""
    constants = {i.name: i for i in graph.graph.initializer}
    multiplied = {n.input[1] for n in _products(graph)}
    nodes, inputs = [], dict[str, Floats]()
    for node in graph.graph.node:
        if len(node.input) > 1 and node.input[1] in multiplied:
            x, kernel = observed[node.input[0]], node.input[1]
            weights = numpy_helper.to_array(constants[kernel])
            divisor = _divisor(x, weights)
            if (divisor > 1).any():
                scaled = (weights * divisor[:, None]).astype(np.float32)
                constants[kernel].CopyFrom(numpy_helper.from_array(scaled, kernel))
                _add(graph, kernel + UNSMOOTH, (1 / divisor).astype(np.float32))
                smooth = f"{kernel}_smoothed_input"
                nodes.append(helper.make_node("Mul", [node.input[0], kernel + UNSMOOTH], [smooth], name=smooth))
                node.input[0], x = smooth, x / divisor
            inputs[node.input[0]] = x
        nodes.append(node)
    _put(graph, nodes, set())
    return inputs


def _divisor(x: Floats, weights: NDArray[np.float32]) -> Floats:
    """Per channel of x[tokens, channels], 1 or more: those of `OUTLIERS` that change x @ weights least.

    The errors of the inputs' rounding and of the weights' are taken for independent; GPTQ makes the second smaller.
    """
    largest = np.abs(x).max(0)
    usual = max(float(np.median(largest)), 1e-6)
    sample = x[:_TRIED]
    best, least = np.ones(len(largest)), math.inf
    for outlier in OUTLIERS:
        divisor = np.maximum(1.0, largest / (outlier * usual))
        y, scaled = sample / divisor, weights * divisor[:, None]
        scale = _column_scale(scaled)
        lost = (_rounding_error(y, _range(y)) @ scaled, y @ (np.round(scaled / scale) * scale - scaled))
        total = sum(float(np.square(part).sum()) for part in lost)
        if total < least:
            best, least = divisor, total
    return best


def _range(x: Floats) -> _Range:
    """The uint8 range, around zero, whose rounding and cutting lose least."""
    ranges = [_uint8(x.min() * shrink, x.max() * shrink) for shrink in _SHRINKS]
    return min(ranges, key=lambda found: float(np.square(_rounding_error(x, found)).sum()))


def _rounding_error(x: Floats, found: _Range) -> Floats:
    kept = np.clip(np.round(x / found.scale) + found.zero, 0, 255) - found.zero
    error: Floats = kept * found.scale - x
    return error


def _uint8(low: float, high: float) -> _Range:
    """The range from `low` to `high`, zero included."""
    low, high = min(0.0, low), max(0.0, high)
    scale = max((high - low) / 255, 1e-8)
    return _Range(scale, round(-low / scale))


def _rounded(weights: Floats, x: Floats) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """int8[in, out] and its scale per output channel, by GPTQ under the pair limit."""
    scale = _column_scale(weights)
    together = x.T @ x / len(x)
    together += np.eye(len(together)) * (_DAMPING * np.trace(together) / len(together) + 1e-12)
    upper = np.linalg.cholesky(np.linalg.inv(together)).T
    left, values = weights.copy(), np.zeros_like(weights)
    room = np.full(weights.shape[1], float(_PAIR))
    for k in range(len(left)):
        limit = np.minimum(127.0, room)
        values[k] = np.clip(np.round(left[k] / scale), -limit, limit)
        room = _PAIR - np.abs(values[k])
        error = (left[k] - values[k] * scale) / upper[k, k]
        left[k + 1 :] -= np.outer(upper[k, k + 1 :], error)
    return values.astype(np.int8), scale.astype(np.float32)


def _column_scale(weights: Floats) -> Floats:
    """Per output channel, the smallest scale at which no weight and no pair of neighbours is over its limit."""
    largest = np.abs(weights)
    pairs = (largest[:-1] + largest[1:]).max(0) / _PAIR
    scale: Floats = np.maximum(np.maximum(pairs, largest.max(0) / 127), 1e-12)
    return scale


def _add(graph: onnx.ModelProto, name: str, value: NDArray[np.generic]) -> None:
    graph.graph.initializer.append(numpy_helper.from_array(value, name))


def _put(graph: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], without: set[str]) -> None:
    kept = [i for i in graph.graph.initializer if i.name not in without]
    del graph.graph.node[:], graph.graph.initializer[:]
    graph.graph.node.extend(nodes)
    graph.graph.initializer.extend(kept)
