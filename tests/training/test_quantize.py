"""The int8 graph: nothing saturates, nothing depends on the batch, and rounding is better than to the nearest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from training.quantize import _range, _rounded

STARTER = Path(__file__).resolve().parents[2] / "models" / "starter"


@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(1, 12), st.sampled_from([0.3, 1.0, 3.0]))
@settings(max_examples=40)
def test_neighbouring_products_never_pass_int16(seed: int, channels: int, outputs: int, tail: float) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(channels, outputs)) * np.exp(tail * rng.normal(size=(channels, 1)))
    values, scale = _rounded(weights, rng.normal(size=(200, channels)))
    wide = np.abs(values.astype(np.int32))
    assert (255 * (wide[:-1] + wide[1:]) < 2**15).all()
    assert (scale > 0).all()


def test_what_follows_makes_up_for_the_rounding() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(2000, 8)) @ rng.normal(size=(8, 64)) + 0.1 * rng.normal(size=(2000, 64))
    weights = rng.normal(size=(64, 16))
    values, scale = _rounded(weights, x)
    ours = np.square(x @ (values * scale - weights)).mean()
    nearest = np.square(x @ (np.clip(np.round(weights / scale), -127, 127) * scale - weights)).mean()
    assert ours < 0.5 * nearest


def test_one_wild_value_does_not_take_the_range() -> None:
    x = np.append(np.random.default_rng(4).normal(size=200_000), 60.0)
    assert _range(x).scale < 60 / 255


def test_the_starter_cannot_saturate_and_fixes_its_scales() -> None:
    graph = onnx.load(STARTER / "model.int8.onnx").graph
    assert not [n for n in graph.node if n.op_type == "DynamicQuantizeLinear" or n.domain not in {"", "ai.onnx"}]
    kernels = [numpy_helper.to_array(i) for i in graph.initializer if i.name.endswith("_quantized")]
    products = [k.astype(np.int32) for k in kernels if k.dtype == np.int8]
    assert len(products) == 36
    for wide in products:
        assert int((np.abs(wide[:-1]) + np.abs(wide[1:])).max()) <= 128
