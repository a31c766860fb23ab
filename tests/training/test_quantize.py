"""The int8 graph: nothing saturates, nothing depends on the batch, and rounding is better than to the nearest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from training.bundle import quantize
from training.bundle.quantize import (
    Floats,
    _column_scale,
    _embedding,
    _fitted,
    _inverse_root,
    _range,
    _rounded,
    _rounding_error,
)

STARTER = Path(__file__).resolve().parents[2] / "models" / "starter"


@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(1, 12), st.sampled_from([0.3, 1.0, 3.0]))
@settings(max_examples=40)
def test_neighbouring_products_never_pass_int16(seed: int, channels: int, outputs: int, tail: float) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(channels, outputs)) * np.exp(tail * rng.normal(size=(channels, 1)))
    scale = _column_scale(weights)
    values = _rounded(weights, _inverse_root(rng.normal(size=(200, channels))), scale)
    wide = np.abs(values.astype(np.int32))
    assert (255 * (wide[:-1] + wide[1:]) < 2**15).all()
    assert (scale > 0).all()


@pytest.mark.parametrize("channels", [64, 250])  # one block of channels, and several
def test_what_follows_makes_up_for_the_rounding(channels: int) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(2000, 8)) @ rng.normal(size=(8, channels)) + 0.1 * rng.normal(size=(2000, channels))
    weights = rng.normal(size=(channels, 16))
    scale = _column_scale(weights)
    values = _rounded(weights, _inverse_root(x), scale)
    ours = np.square(x @ (values * scale - weights)).mean()
    nearest = np.square(x @ (np.clip(np.round(weights / scale), -127, 127) * scale - weights)).mean()
    assert ours < 0.5 * nearest


def test_one_wild_value_does_not_take_the_range() -> None:
    x = np.random.default_rng(4).normal(size=(2000, 100))
    x[700, 3] = 60.0
    assert _range(x).scale < 60 / 255


def test_a_wild_channel_is_divided_down_and_tame_ones_are_left_alone() -> None:
    rng = np.random.default_rng(5)
    tame, weights = rng.uniform(-1, 1, size=(1000, 32)), rng.normal(size=(32, 16))
    assert (_fitted(tame, weights).divisor < 1.1).all()
    wild = tame.copy()
    wild[:, 7] *= 50
    found = _fitted(wild, weights)
    assert found.divisor[7] > 5
    assert (np.delete(found.divisor, 7) < 1.1).all()

    def lost(x: Floats, int8: Floats) -> float:
        return float(np.square((x + _rounding_error(x, _range(x))) @ int8 - wild @ weights).mean())

    scale = _column_scale(weights)
    as_it_is = lost(wild, _rounded(weights, _inverse_root(wild), scale) * scale)
    assert lost(wild / found.divisor, found.values * found.scale) < 0.5 * as_it_is


def test_an_outlier_that_few_tokens_have_counts() -> None:
    """Two tokens in a thousand carry the wild channel, as the first and last of a text do: it may not be cut off."""
    rng = np.random.default_rng(8)
    x, weights = rng.normal(size=(3000, 48)), rng.normal(size=(48, 16))
    x[[1100, 2101], 5] = 90.0
    found = _fitted(x, weights)
    rebuilt = (x / found.divisor + _rounding_error(x / found.divisor, found.range)) @ (found.values * found.scale)
    off = np.abs(rebuilt - x @ weights)
    assert off[[1100, 2101]].max() < 0.1 * np.abs(90 * weights[5]).max()
    assert np.square(off).mean() < 0.005 * np.square(x @ weights).mean()


def test_the_smoothing_chosen_loses_least_on_all_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(9)
    x, weights = rng.normal(size=(3000, 48)), rng.normal(size=(48, 16))
    x[2000:2100, 5] = 60.0

    def lost() -> float:
        found = _fitted(x, weights)
        y = x / found.divisor
        return float(
            np.square((y + _rounding_error(y, found.range)) @ (found.values * found.scale) - x @ weights).sum()
        )

    chosen, each = lost(), []
    for outlier in quantize.OUTLIERS:
        monkeypatch.setattr(quantize, "OUTLIERS", (outlier,))
        each.append(lost())
    assert chosen == min(each) < 0.9 * max(each)


def test_blocks_of_channels_give_what_one_by_one_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(10)
    x = rng.normal(size=(2000, 8)) @ rng.normal(size=(8, 250)) + 0.1 * rng.normal(size=(2000, 250))
    weights = rng.normal(size=(250, 16))
    root, scale = _inverse_root(x), _column_scale(weights)
    in_blocks = _rounded(weights, root, scale)
    monkeypatch.setattr(quantize, "_BLOCK", 250)
    assert (in_blocks == _rounded(weights, root, scale)).mean() > 0.999, "but for the order of sums"


def test_each_row_of_a_table_has_its_own_scale() -> None:
    """What one row with wild values would cost the others in one scale for all: everything."""
    scales = np.array([[1], [1e3], [1e-3], [1], [0]], np.float32)
    table = np.random.default_rng(6).normal(size=(5, 8)).astype(np.float32) * scales
    gather = helper.make_node("Gather", ["table", "ids"], ["rows"])
    given_ids = helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, ["b", "t"])
    rows = helper.make_tensor_value_info("rows", onnx.TensorProto.FLOAT, ["b", "t", 8])
    model = helper.make_model(helper.make_graph([], "table", [given_ids], [rows]))
    model.opset_import[0].version, model.ir_version = 18, 9
    model.graph.node.extend(_embedding(model, gather, table))
    ids = np.array([[0, 1, 2], [4, 3, 2]])
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = np.asarray(session.run(["rows"], {"ids": ids})[0])
    assert (np.abs(found - table[ids]) <= np.abs(table).max(1)[ids][:, :, None] / 250).all()


def test_the_starter_cannot_saturate_and_fixes_its_scales() -> None:
    graph = onnx.load(STARTER / "model.int8.onnx").graph
    assert not [n for n in graph.node if n.op_type == "DynamicQuantizeLinear" or n.domain not in {"", "ai.onnx"}]
    small = [i for i in graph.initializer if i.name.endswith("_quantized") and ".embeddings." not in i.name]
    products = [numpy_helper.to_array(i).astype(np.int32) for i in small]
    assert len(products) == 36
    for wide in products:
        assert int((np.abs(wide[:-1]) + np.abs(wide[1:])).max()) <= 128
