"""Trained weights -> a bundle: ONNX with fused attention, golden texts, manifest."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from onnxruntime.transformers.convert_to_packing_mode import PackingMode
from onnxruntime.transformers.fusion_options import FusionOptions
from onnxruntime.transformers.optimizer import optimize_model

from models.bundle import read_manifest
from models.drift import profile
from models.engine import OnnxEngine
from models.graph import ALLOWED_DOMAINS, graph_facts
from models.heads import TOWARD, Head
from models.tokenizer import BundleTokenizer
from training.config import TrainingConfigError
from training.data.examples import Example, Mention
from training.evaluation.evaluate import toward_probabilities
from training.evaluation.prevalence import prevalence_of
from training.network.encoder import Classifier

OPSET = 18
#: Rounding differs a little between processors, and in int8 a rounded activation may fall to either side: between ONNX
#: Runtime and OpenVINO 1 % of 900 texts moved by over .015, one by .033. Products that saturate move them by .07.
GOLDEN_TOLERANCE = {"int8": 0.02, "fp32": 0.001, "fp16": 0.005, "fp16-packed": 0.005}
Precision = Literal["int8", "fp32", "fp16", "fp16-packed"]
MODEL_FILES = {precision: f"model.{precision}.onnx" for precision in GOLDEN_TOLERANCE}
PLAIN_FILE, TOKENIZER_FILE = "model.plain.onnx", "tokenizer.json"
#: The golden texts, and a target in each.
GOLDEN = (
    "The new phone overheats and support never answers, I want a refund.",
    "Lovely hotel, friendly staff, we will come back next summer.",
    "Parliament votes on the budget on Thursday.",
    "新手机充电时爆炸，客服一直不回复，太失望了。",
    "房间干净，服务热情，下次还会再来。",
    "央行宣布下调存款准备金率。",
)
GOLDEN_TARGETS = ("phone", "hotel", "Parliament", "手机", "房间", "央行")


def export_onnx(model: Classifier, work: Path) -> Path:
    """Writes the fp32 graph, in standard operators, into `work` and returns it."""
    work.mkdir(parents=True, exist_ok=True)
    plain = work / PLAIN_FILE
    model.cpu()
    model.encoder.set_attn_implementation("eager")
    example = torch.ones(2, 8, dtype=torch.long)
    place = torch.tensor([0, 1, 1])
    names, given, outputs = ["input_ids", "attention_mask"], [example, example], ["logits"]
    axes: dict[str, dict[int, str]] = {n: {0: "b", 1: "t"} for n in names} | {"logits": {0: "b"}}
    if model.toward is not None:
        given += [place, place, place + 1]
        places = ["mention_row", "mention_start", "mention_end"]
        names, outputs = names + places, [*outputs, TOWARD]
        axes |= {n: {0: "m"} for n in [*places, TOWARD]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer: the golden texts and the parity test judge the result
        torch.onnx.export(
            model.eval(),
            tuple(given),
            str(plain),
            input_names=names,
            output_names=outputs,
            opset_version=OPSET,
            dynamic_axes=axes,
            dynamo=False,
        )
    return plain


def fuse(plain: Path, model: Classifier, *, half: bool = False, packed: bool = False) -> Path:
    """The same graph with attention and normalisation fused by onnxruntime's optimizer: faster in fp32.

    With `half` in fp16 but for its inputs and its logits, and with the mask as the lengths of the rows, which fused
    attention on a GPU asks for (1.29 times as fast on an H200, `benchmarks.gpu`). A CPU casts back and forth. With
    `packed` padding is taken out before the first layer and put back after the last: only a GPU has these operators.
    """
    fused, shape = plain.with_name(f"model.fused{'.packed' if packed else ''}.onnx"), model.encoder.config
    fusions = FusionOptions("bert")
    fusions.enable_embed_layer_norm = False  # the fused operator wants the embeddings, two thirds of the file, in fp32
    fusions.use_raw_attention_mask(not half and not packed)
    optimized = optimize_model(
        str(plain),
        model_type="bert",
        num_heads=shape.num_attention_heads,
        hidden_size=shape.hidden_size,
        optimization_options=fusions,
    )
    if half:
        optimized.convert_float_to_float16(keep_io_types=True)
    if packed:
        PackingMode(optimized).convert()
        left = [n for n in optimized.model.graph.node if n.op_type in {"Attention", "MultiHeadAttention"}]
        if left or not optimized.get_nodes_by_op_type("PackedAttention"):
            raise TrainingConfigError("the attention of this model cannot be packed: export it as fp16")
    optimized.save_model_to_file(str(fused))
    return fused


def write_bundle(
    model: Path,
    tokenizer_json: str,
    heads: Mapping[str, Sequence[str]],
    temperatures: Mapping[str, float],
    out: Path,
    *,
    name: str,
    version: str,
    max_tokens: int,
    maps: Mapping[str, Mapping[str, Sequence[str]]],
    metrics: Mapping[str, float],
    training: Mapping[str, str | int | float],
    seen: Sequence[str] = (),
    precision: Precision = "int8",
    judged: Path | None = None,
    validation: Sequence[Example] = (),
) -> Path:
    """Writes `out` (manifest, the ONNX file, `tokenizer.json` = `tokenizer_json`) and returns it.

    `seen` are texts that stand for what the model will see, for the drift reference. `judged` is a graph of the same
    weights that runs here, where `model` does not: the golden texts are its. From the `validation` rows, none trained
    on, the manifest has the score groups of each head.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / TOKENIZER_FILE).write_text(tokenizer_json, "utf-8")
    engine = open_engine(judged or model, tokenizer_json, heads, temperatures, max_tokens, name=name, version=version)
    graph = _write_graph(model, precision, engine, out)
    manifest = {
        **graph,
        "format": 1,
        "name": name,
        "version": version,
        "heads": [{"name": h, "labels": list(labels), "temperature": temperatures[h]} for h, labels in heads.items()],
        "max_tokens": max_tokens,
        "tokenizer_file": TOKENIZER_FILE,
        "files": {file: _entry(out / file) for file in (MODEL_FILES[precision], TOKENIZER_FILE)},
        "opset": OPSET,
        "metrics": dict(metrics),
        "label_maps": {k: {raw: list(classes) for raw, classes in v.items()} for k, v in maps.items()},
        "training": dict(training),
        "reference": asdict(profile(seen, engine.predict(seen), engine.unknown_share(seen))) if seen else None,
        "prevalence": prevalence_of(engine, validation),
    }
    _write_manifest(out, manifest)
    return out


def add_gpu_graph(bundle: Path, plain: Path, model: Classifier, *, version: str | None = None) -> None:
    """Puts into a bundle of `model` what a GPU runs: fp16 without padding, or fp16 where that cannot be packed.

    `plain` is its graph by `export_onnx`; `version` the bundle's from now on. A signature of it is void afterwards.
    """
    half = fuse(plain, model, half=True)
    engine = engine_with(half, bundle)
    precision: Precision = "fp16-packed"
    try:
        graph = fuse(plain, model, half=True, packed=True)
    except TrainingConfigError:
        graph, precision = half, "fp16"
    entry = _write_graph(graph, precision, engine, bundle)
    written = json.loads((bundle / "manifest.json").read_text("utf-8"))
    file = MODEL_FILES[precision]
    changes = {"files": {**written["files"], file: _entry(bundle / file)}, "gpu": entry}
    _write_manifest(bundle, {**written, **changes, "version": version or written["version"]})


def _write_graph(model: Path, precision: Precision, engine: OnnxEngine, out: Path) -> dict[str, Any]:
    """Copies the graph into `out`; what the manifest says of it, with what `engine` says of the golden texts."""
    file = out / MODEL_FILES[precision]
    file.write_bytes(model.read_bytes())
    used = graph_facts(file.read_bytes()).domains
    if foreign := used - set(ALLOWED_DOMAINS):
        raise ValueError(f"the exported graph uses operator domains {sorted(foreign)} that serving refuses")
    return {
        "precision": precision,
        "model_file": file.name,
        "domains": sorted(used),
        "golden": _golden(engine),
        "golden_tolerance": GOLDEN_TOLERANCE[precision],
    }


def _golden(engine: OnnxEngine) -> list[dict[str, Any]]:
    """What the engine says of the golden texts, and of the target in each where it has the head `toward`."""
    answers: list[dict[str, Any]] = [
        {"text": text, "probabilities": {h: list(p.probabilities(h).values()) for h in p.heads}}
        for text, p in zip(GOLDEN, engine.predict(GOLDEN), strict=True)
    ]
    if engine.toward is not None:
        starts = [text.index(target) for text, target in zip(GOLDEN, GOLDEN_TARGETS, strict=True)]
        places = [(start, start + len(target)) for start, target in zip(starts, GOLDEN_TARGETS, strict=True)]
        rows = [Example(text, "golden", {}, mentions=(Mention(*p),)) for text, p in zip(GOLDEN, places, strict=True)]
        for answer, (start, end), line in zip(answers, places, toward_probabilities(engine, rows), strict=True):
            answer["toward"] = [{"from": start, "to": end, "probabilities": line.tolist()}]
    return answers


def _entry(file: Path) -> dict[str, Any]:
    data = file.read_bytes()
    return {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _write_manifest(bundle: Path, manifest: dict[str, Any]) -> None:
    (bundle / "manifest.json").write_text(json.dumps(manifest, ensure_ascii=False, indent=1), "utf-8")


def engine_with(graph: Path, bundle: Path) -> OnnxEngine:
    """The engine of a bundle, on the CPU, with another graph in place of its own."""
    manifest = read_manifest(bundle)
    return open_engine(
        graph,
        (bundle / manifest.tokenizer_file).read_text("utf-8"),
        {h.name: h.labels for h in manifest.heads},
        {h.name: h.temperature for h in manifest.heads},
        manifest.max_tokens,
        name=manifest.name,
        version=manifest.version,
    )


def open_engine(
    model: Path,
    tokenizer_json: str,
    heads: Mapping[str, Sequence[str]],
    temperatures: Mapping[str, float],
    max_tokens: int,
    *,
    name: str,
    version: str,
) -> OnnxEngine:
    """The engine that serving would make of these parts, on the CPU."""
    return OnnxEngine(
        name=name,
        version=version,
        heads=[Head(head, tuple(labels), temperatures[head]) for head, labels in heads.items()],
        tokenizer=BundleTokenizer(tokenizer_json, max_tokens),
        model=model.read_bytes(),
        device="cpu",
    )
