"""A graph is asked itself what it needs: the manifest's word is not taken for it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import BundleError, load_bundle
from models.graph import MAX_DEPTH, check_graph, graph_facts
from models.runtimes import Runtime
from pipeline.settings import STARTER

WEIGHTS = (STARTER / "model.int8.onnx").read_bytes()


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | str | bytes) -> bytes:
    """One field of a protobuf message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def node(operator: str = "Relu", domain: str = "", *attributes: bytes) -> bytes:
    return field(4, operator) + field(7, domain) + b"".join(field(5, a) for a in attributes)


def model(*nodes: bytes, graph: bytes = b"", more: bytes = b"", opset: int = 18, domain: str = "") -> bytes:
    opsets = field(8, field(1, domain) + field(2, opset))
    return field(1, 8) + field(7, b"".join(field(1, n) for n in nodes) + graph) + opsets + more


def test_the_starter_is_what_its_manifest_says() -> None:
    onnx = pytest.importorskip("onnx")
    facts = check_graph(WEIGHTS, ["ai.onnx"], 18)
    assert facts.operators == {("ai.onnx", n.op_type) for n in onnx.load_from_string(WEIGHTS).graph.node}
    assert not facts.external


BRANCH = field(1, node("Scaler", "ai.onnx.ml"))
ELSEWHERE = field(14, 1)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (model(node("Scaler", "ai.onnx.ml")), "ai.onnx.ml"),
        (model(node("If", "", field(6, BRANCH))), "ai.onnx.ml"),
        (model(node("If", "", field(11, field(1, node("Loop", "", field(6, BRANCH)))))), "ai.onnx.ml"),
        (model(more=field(25, field(1, "f") + field(7, node("Scaler", "ai.onnx.ml")))), "ai.onnx.ml"),
        (model(more=field(25, field(1, "f") + field(10, "evil.ops"))), "evil.ops"),
        (model(more=field(20, field(1, BRANCH))), "ai.onnx.ml"),
        (model(node("Gelu", "com.microsoft")), "manifest claims"),
        (model(node("EPContext")), "EPContext"),
        (model(graph=field(5, ELSEWHERE)), "outside its file"),
        (model(graph=field(5, field(14, 1 << 40))), "outside its file"),
        (model(graph=field(5, field(13, field(1, "location") + field(2, "/etc/passwd")))), "outside its file"),
        (model(graph=field(15, field(1, ELSEWHERE))), "outside its file"),
        (model(graph=field(15, field(2, ELSEWHERE))), "outside its file"),
        (model(node("Constant", "", field(5, ELSEWHERE))), "outside its file"),
        (model(node("Constant", "", field(10, ELSEWHERE))), "outside its file"),
        (model(node("Constant", "", field(22, field(1, ELSEWHERE)))), "outside its file"),
        (model(more=field(25, field(11, field(5, ELSEWHERE)))), "outside its file"),
        (model(node(), opset=17), "opset"),
        (model(node(), more=field(8, field(1, "ai.onnx") + field(2, 9))), "opset"),
        (model(more=field(20, field(2, BRANCH))), "ai.onnx.ml"),
        (field(7, 5), "field 7 of a model has wire type 0"),
        (model(field(4, 5)), "field 4 of a node has wire type 0"),
        (model(more=field(8, field(1, 7))), "field 1 of a opset has wire type 0"),
        (model(more=field(8, field(2, b"18"))), "field 2 of a opset has wire type 2"),
        (model(field(5, 5)), "field 5 of a node has wire type 0"),
        (model() + b"\x00\x01", "number 0"),
        (model() + b"\x0b", "wire type 3"),
        (model() + b"\x0a\x05x", "longer than its message"),
        (model() + b"\xff" * 11, "cut or too long"),
        (model() + b"\x08\x80", "cut or too long"),
        (b"", "no graph"),
        (field(1, 8), "no graph"),
        (b"<?xml version='1.0'?><net/>", "not ONNX"),
        (b"\x08\x08\x12\x06ORTM" + model(node())[2:], "ORTM"),
        (b"PK\x03\x04" + bytes(60), "not ONNX"),
    ],
)
def test_what_a_graph_hides_is_found_wherever_it_stands(data: bytes, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        check_graph(data, ["ai.onnx"], 18)


def test_a_graph_that_nests_without_end_is_refused() -> None:
    data = node()
    for _ in range(MAX_DEPTH):
        data = node("If", "", field(6, field(1, data)))
    with pytest.raises(BundleError, match="deep"):
        graph_facts(model(data))


@given(st.binary(max_size=400))
def test_any_bytes_are_a_graph_or_refused(data: bytes) -> None:
    for given_bytes in (data, model(node()) + data, field(7, data), field(7, field(1, field(5, field(6, data))))):
        try:
            graph_facts(given_bytes)
        except BundleError:
            pass


@given(st.data())
def test_cut_or_flipped_a_graph_is_refused_or_read(data: st.DataObject) -> None:
    whole = model(node("If", "", field(6, BRANCH)), graph=field(5, field(9, bytes(40)) + ELSEWHERE))
    cut = data.draw(st.integers(0, len(whole)))
    flipped = bytearray(whole)
    flipped[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    for damaged in (whole[:cut], bytes(flipped), WEIGHTS[: data.draw(st.integers(0, len(WEIGHTS)))]):
        try:
            graph_facts(damaged)
        except BundleError:
            pass


@given(st.integers(1, 5))
def test_work_is_bounded_by_fields_not_by_what_the_bytes_claim(copies: int) -> None:
    with pytest.raises(BundleError, match="fields"):
        graph_facts(field(7, field(5, b"\x08\x01" * 700_000) * 3 * copies))


def bundle(folder: Path, graph: bytes, **changes: Any) -> Path:
    """The starter with another graph, whose size and digest the manifest has."""
    shutil.copytree(STARTER, folder)
    path = folder / "manifest.json"
    manifest = {**json.loads(path.read_text()), **changes}
    (folder / manifest["model_file"]).write_bytes(graph)
    manifest["files"][manifest["model_file"]] = {
        "size_bytes": len(graph),
        "sha256": hashlib.sha256(graph).hexdigest(),
    }
    path.write_text(json.dumps(manifest))
    return folder


def with_external_weights(location: Path, wanted: Path) -> bytes:
    """The starter's graph with one initializer moved to `location`, where it is written."""
    onnx = pytest.importorskip("onnx")
    loaded = onnx.load_from_string(WEIGHTS)
    tensor = max(loaded.graph.initializer, key=lambda t: len(t.raw_data))
    wanted.write_bytes(tensor.raw_data)
    size = len(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", str(location)), ("offset", "0"), ("length", str(size))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return bytes(loaded.SerializeToString())


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("where", ["absolute", "working directory", "link"])
def test_weights_outside_of_the_bundle_are_not_loaded(tmp_path: Path, runtime: Runtime, where: str) -> None:
    outside = tmp_path / "outside.bin"
    location = outside if where == "absolute" else Path("outside.bin" if where == "working directory" else "link.bin")
    graph = with_external_weights(location, outside)
    (tmp_path / "link.bin").symlink_to(outside)
    with pytest.raises(BundleError, match="weights outside its file"):
        load_bundle(bundle(tmp_path / "bundle", graph), device="cpu", runtime=runtime)


def test_a_bundle_without_golden_texts_for_each_head_is_refused(tmp_path: Path) -> None:
    golden = json.loads((STARTER / "manifest.json").read_text())["golden"]
    with pytest.raises(BundleError, match="no golden text.*opinionwatch export"):
        load_bundle(bundle(tmp_path / "none", WEIGHTS, golden=[]), device="cpu")
    partial = [{**g, "probabilities": {"topic": g["probabilities"]["topic"]}} for g in golden]
    with pytest.raises(BundleError, match="no golden text checks head emotion, irony, sentiment"):
        load_bundle(bundle(tmp_path / "partial", WEIGHTS, golden=partial), device="cpu")
    golden[0]["probabilities"]["sentiment"] = [float("nan")] * 3
    with pytest.raises(BundleError, match="golden"):
        load_bundle(bundle(tmp_path / "nan", WEIGHTS, golden=golden), device="cpu")


def test_an_opset_that_the_graph_does_not_import_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"imports opset \[18\], the manifest claims 17"):
        load_bundle(bundle(tmp_path / "bundle", WEIGHTS, opset=17), device="cpu")
