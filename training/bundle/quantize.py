"""Static int8 for a BERT graph: small, close to fp32, and with the same results on every processor.

- Activations: one uint8 scale per tensor, fixed on calibration texts at the range with the least mean squared error.
  A label therefore does not depend on the other texts of its batch, as it would with scales computed at run time.
- Smoothing (Xiao et al. 2023, SmoothQuant, here for outliers only): a channel whose largest value exceeds a multiple of
  the median channel's is divided by a factor, and its weights are multiplied by it. Each product chooses the multiple
  from `OUTLIERS` whose int8 product is nearest to the exact one.
- Weights: int8 per output channel, by GPTQ (Frantar et al. 2023): each input channel is rounded in turn, and the
  following channels compensate for the error, weighted by the correlation of the calibration inputs.
- No saturation: processors without VNNI add neighbouring products in int16. |w_k| + |w_k+1| <= 128 keeps 255 * 128
  below 2 ** 15, so that they compute the same results (ONNX Runtime's `reduce_range` would cost a whole bit).
- Word embeddings: int8 with a scale per row. Small tables (positions, token types) and the heads stay exact: the larger
  ones are kept in fp16 and computed in fp32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from models.batching import padded
from models.heads import TOWARD
from training.network.quantized_names import HALF, QUANTIZED, SCALE, UNSMOOTH, ZERO_POINT

Floats = NDArray[np.float64]
OUTLIERS = (math.inf, 6.0, 4.0, 3.0, 2.5, 2.0, 1.75, 1.5, 1.25, 1.0)
_PAIR = 128
_SHRINKS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
_BATCH = 16
#: Token vectors kept per tensor: several for each of the most input channels.
_KEPT = 6000
#: Token vectors among them on which a range is tried.
_TRIED = 2000
_DAMPING = 0.01
#: Input channels that are rounded before their errors are propagated to the rest at once.
_BLOCK = 96
#: Smaller tables stay in fp32: their rounding error would affect every text and save little.
_SMALL_TABLE = 1_000_000
#: Fewer weights than this stay in fp32 in the file as well.
_FEW_WEIGHTS = 16_384
_TOWARD_NODES = f"/{TOWARD}/"


@dataclass(frozen=True, slots=True)
class _Range:
    scale: float
    zero: int


@dataclass(frozen=True, slots=True)
class _Product:
    """x @ weights in int8: x is divided by `divisor` and rounded in `range`; weights are `values` * `scale`."""

    divisor: Floats
    range: _Range
    values: Floats
    scale: Floats


def quantize_static(plain: Path, out: Path, rows: Sequence[Sequence[int]]) -> None:
    """Writes `out`, the int8 graph of `plain` (standard operators only); `rows`: token ids of calibration texts.

    Products get QuantizeLinear and DequantizeLinear pairs (QDQ), which every runtime knows how to fuse.
    """
    graph = onnx.load(plain)
    inputs = _observed(graph, rows)
    constants = {i.name: i for i in graph.graph.initializer}
    products = {n.name for n in _products(graph)}
    nodes, replaced, quantized = [], set[str](), set[str]()
    for node in graph.graph.node:
        if node.name in products:
            given, kernel = node.input[0], node.input[1]
            found = _fitted(inputs[given], numpy_helper.to_array(constants[kernel]).astype(np.float64))
            if (found.divisor > 1).any():
                nodes.append(_smoothing(graph, given, kernel, found.divisor))
                given = nodes[-1].output[0]
            if given not in quantized:
                quantized.add(given)
                nodes += _activation(graph, given, found.range)
            nodes.append(_kernel(graph, kernel, found))
            node.input[0], node.input[1] = f"{given}_dequantized", f"{kernel}_dequantized"
            replaced.add(kernel)
        if node.op_type == "Gather" and (table := constants.get(node.input[0])) is not None and _is_large(table):
            nodes += _embedding(graph, node, numpy_helper.to_array(table))
            replaced.add(table.name)
        else:
            nodes.append(node)
    _put(graph, nodes, replaced)
    _halve(graph)
    onnx.save(graph, out)


def _halve(graph: onnx.ModelProto) -> None:
    """Keeps the larger fp32 weights in fp16; a Cast, which runtimes compute once, turns them back."""
    casts, replaced = [], set[str]()
    for constant in list(graph.graph.initializer):
        if constant.data_type == onnx.TensorProto.FLOAT and math.prod(constant.dims) >= _FEW_WEIGHTS:
            name = constant.name
            _add(graph, name + HALF, numpy_helper.to_array(constant).astype(np.float16))
            casts.append(helper.make_node("Cast", [name + HALF], [name], name=f"{name}_whole", to=constant.data_type))
            replaced.add(name)
    _put(graph, [*casts, *graph.graph.node], replaced)


def _is_large(table: onnx.TensorProto) -> bool:
    return len(table.dims) == 2 and math.prod(table.dims) >= _SMALL_TABLE


def _smoothing(graph: onnx.ModelProto, given: str, kernel: str, divisor: Floats) -> onnx.NodeProto:
    _add(graph, kernel + UNSMOOTH, (1 / divisor).astype(np.float32))
    smooth = f"{kernel}_smoothed_input"
    return helper.make_node("Mul", [given, kernel + UNSMOOTH], [smooth], name=smooth)


def _activation(graph: onnx.ModelProto, name: str, found: _Range) -> list[onnx.NodeProto]:
    scale, zero = f"{name}_scale", f"{name}_zero_point"
    _add(graph, scale, np.array(found.scale, np.float32))
    _add(graph, zero, np.array(found.zero, np.uint8))
    small, back = f"{name}_quantized", f"{name}_dequantized"
    return [
        helper.make_node("QuantizeLinear", [name, scale, zero], [small], name=small),
        helper.make_node("DequantizeLinear", [small, scale, zero], [back], name=back),
    ]


def _kernel(graph: onnx.ModelProto, name: str, product: _Product) -> onnx.NodeProto:
    parts = [name + suffix for suffix in (QUANTIZED, SCALE, ZERO_POINT)]
    _add(graph, parts[0], product.values.astype(np.int8))
    _add(graph, parts[1], product.scale.astype(np.float32))
    _add(graph, parts[2], np.zeros(len(product.scale), np.int8))
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
    """Nodes of the encoder that multiply by a constant matrix [in, out]."""
    constants = {i.name for i in graph.graph.initializer}
    return [
        n
        for n in graph.graph.node
        if n.op_type == "MatMul" and n.input[1] in constants and not n.name.startswith(_TOWARD_NODES)
    ]


def _observed(graph: onnx.ModelProto, rows: Sequence[Sequence[int]]) -> dict[str, Floats]:
    """Input of each product -> float64[about _KEPT at the most, channels], of real tokens only.

    As many of each text, long or short, since a label comes from the mean of its text's tokens.
    """
    names = sorted({n.input[0] for n in _products(graph)})
    watched = onnx.ModelProto()
    watched.CopyFrom(graph)
    watched.graph.output.extend(helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in names)
    session = ort.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    given = {i.name for i in graph.graph.input}
    place = {"mention_row": 0, "mention_start": 0, "mention_end": 1}
    anywhere = {name: np.array([at], np.int64) for name, at in place.items() if name in given}
    kept: dict[str, list[Floats]] = {name: [] for name in names}
    rng, of_each = np.random.default_rng(17), _KEPT / len(rows)
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH]
        ids, mask = padded(batch)
        real = mask.astype(np.bool_) & (rng.random(mask.shape) < of_each / mask.sum(1, keepdims=True))
        for name, value in zip(
            names, session.run(names, {"input_ids": ids, "attention_mask": mask, **anywhere}), strict=True
        ):
            kept[name].append(np.asarray(value if value.ndim == 2 else value[real], np.float64))
    return {name: np.concatenate(parts) for name, parts in kept.items()}


def _fitted(x: Floats, weights: Floats) -> _Product:
    """x[tokens, in] @ weights[in, out] in int8, with those of `OUTLIERS` that change it least on these tokens."""
    exact, root = x @ weights, _inverse_root(x)
    largest = np.abs(x).max(0)
    usual = max(float(np.median(largest)), 1e-6)
    divisors = {d.tobytes(): d for d in (np.maximum(1.0, largest / (outlier * usual)) for outlier in OUTLIERS)}

    def tried(divisor: Floats) -> tuple[float, _Product]:
        y, scaled = x / divisor, weights * divisor[:, None]
        scale, found = _column_scale(scaled), _range(y)
        values = _rounded(scaled, root * divisor, scale)
        lost = np.square((y + _rounding_error(y, found)) @ (values * scale) - exact).sum()
        return float(lost), _Product(divisor, found, values, scale)

    return min(map(tried, divisors.values()), key=lambda trial: trial[0])[1]


def _range(x: Floats) -> _Range:
    """The uint8 range, around zero, whose rounding and cutting lose least."""
    ranges = [_uint8(x.min() * shrink, x.max() * shrink) for shrink in _SHRINKS]
    tried = x[:: max(1, len(x) // _TRIED)]
    return min(ranges, key=lambda found: float(np.square(_rounding_error(tried, found)).sum()))


def _rounding_error(x: Floats, found: _Range) -> Floats:
    kept = np.clip(np.round(x / found.scale) + found.zero, 0, 255) - found.zero
    error: Floats = kept * found.scale - x
    return error


def _uint8(low: float, high: float) -> _Range:
    """The range from `low` to `high`, zero included."""
    low, high = min(0.0, low), max(0.0, high)
    scale = max((high - low) / 255, 1e-8)
    return _Range(scale, round(-low / scale))


def _inverse_root(x: Floats) -> Floats:
    """U[in, in], upper triangular: U.T @ U is the inverse of x.T @ x / tokens (damped).

    That of x / divisor is U * divisor.
    """
    together = x.T @ x / len(x)
    squares = np.diag(together)
    together += np.diag(_DAMPING * np.maximum(squares, 1e-3 * squares.mean()) + 1e-12)
    root: Floats = np.linalg.cholesky(np.linalg.inv(together)).T
    return root


def _rounded(weights: Floats, root: Floats, scale: Floats) -> Floats:
    """Integers [in, out] whose product with `scale` (one per column) approximates the weights, by GPTQ.

    `root` is the `_inverse_root` of the inputs. No pair of neighbours exceeds its limit.
    """
    left, values = weights.copy(), np.zeros_like(weights)
    room = np.full(weights.shape[1], float(_PAIR))
    for start in range(0, len(left), _BLOCK):
        end = min(start + _BLOCK, len(left))
        errors = np.zeros((end - start, weights.shape[1]))
        for k in range(start, end):
            limit = np.minimum(127.0, room)
            values[k] = np.clip(np.round(left[k] / scale), -limit, limit)
            room = _PAIR - np.abs(values[k])
            errors[k - start] = (left[k] - values[k] * scale) / root[k, k]
            left[k + 1 : end] -= np.outer(root[k, k + 1 : end], errors[k - start])
        left[end:] -= root[start:end, end:].T @ errors
    return values


def _column_scale(weights: Floats) -> Floats:
    """The smallest scale per output channel at which no weight and no pair of neighbours exceeds its limit."""
    largest = np.abs(weights)
    pairs = (largest[:-1] + largest[1:]).max(0) / _PAIR
    scale: Floats = np.maximum(np.maximum(pairs, largest.max(0) / 127), 1e-12)
    return scale


def _add(graph: onnx.ModelProto, name: str, value: NDArray[np.generic]) -> None:
    graph.graph.initializer.append(numpy_helper.from_array(value, name))


def _put(graph: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], without: set[str]) -> None:
    kept = [i for i in graph.graph.initializer if i.name not in without]
    nodes = list(nodes)
    del graph.graph.node[:], graph.graph.initializer[:]
    graph.graph.node.extend(nodes)
    graph.graph.initializer.extend(kept)
