"""A trained network -> a calibrated, scored bundle, in int8 where that keeps its labels, and the report on it."""

from __future__ import annotations

import logging
import random
import resource
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tokenizers import Tokenizer

from models.bundle import BundleError, load_bundle
from models.engine import OnnxEngine
from training.bundle.export import (
    MODEL_FILES,
    PLAIN_FILE,
    Precision,
    add_gpu_graph,
    export_onnx,
    fuse,
    open_engine,
    write_bundle,
)
from training.bundle.quantize import quantize_static
from training.data.examples import Example
from training.data.tensors import encode, encode_rows
from training.data.training_data import TrainingData
from training.evaluation.evaluate import (
    SetScores,
    engine_heads,
    evaluate_sets,
    probabilities_of,
    robustness,
    seconds_per_1000,
    short,
    toward_probabilities,
)
from training.evaluation.temperature import fit_temperatures
from training.evaluation.training_report import TrainingReport
from training.network.encoder import Classifier
from training.network.predict import predict, predict_toward
from training.request import Request
from training.run import Run

log = logging.getLogger(__name__)
SERVING_TOKENS = 128
INT8_AGREEMENT = 0.97
_SEEN = 2000
#: Texts that the int8 scales are fixed on.
_CALIBRATION = 512


def make_bundle(
    model: Classifier, tokenizer_json: str, run: Run, data: TrainingData, request: Request, minutes: float
) -> TrainingReport:
    """Exports, calibrates and scores a model that trained for `minutes`; writes `request.out`, returns the report."""
    config, name = run.config, request.name or run.config.name
    rows: list[Example] = next(iter(data.evaluation.values()), [])
    precision, agreement, exported = _smallest_that_agrees(model, tokenizer_json, run, data)
    positions = int(getattr(model.encoder.config, "max_position_embeddings", SERVING_TOKENS))
    tokens = min(SERVING_TOKENS, positions)
    plain = dict.fromkeys(data.heads, 1.0)
    raw = open_engine(exported, tokenizer_json, data.heads, plain, tokens, name=name, version=request.version)
    temperatures = fit_temperatures(raw, data.heads, data.validation)
    engine = open_engine(exported, tokenizer_json, data.heads, temperatures, tokens, name=name, version=request.version)
    after = evaluate_sets(engine, data.heads, data.evaluation, every_class=data.every_class)
    seen = [e.text for e in (data.validation or data.train)[:_SEEN]]
    write_bundle(
        exported,
        tokenizer_json,
        data.heads,
        temperatures,
        request.out,
        name=name,
        version=request.version,
        max_tokens=tokens,
        maps=config.maps,
        metrics=short(after),
        training={
            "base": Path(request.base).name,
            "rows": len(data.train),
            "method": config.train.method,
            "epochs": config.train.epochs,
            "minutes": round(minutes, 1),
            "teachers": len(request.teachers),
            "attention_heads": int(model.encoder.config.num_attention_heads),
        },
        seen=seen,
        precision=precision,
        validation=data.validation,
    )
    if request.for_gpu:
        add_gpu_graph(request.out, run.work / PLAIN_FILE, model)
    return TrainingReport(
        name=name,
        version=request.version,
        base=request.base,
        heads=data.heads,
        settings=config.train.model_dump(),
        minutes=round(minutes, 2),
        peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        parameters=sum(p.numel() for p in model.parameters()),
        precision=precision,
        int8_agreement=agreement,
        temperatures=temperatures,
        seconds_per_1000_posts=round(seconds_per_1000([engine], seen)[0], 3),
        before=_before(request.base, data),
        after=after,
        robustness=robustness(engine, rows),
        data=data.report,
    )


def _smallest_that_agrees(
    model: Classifier, tokenizer_json: str, run: Run, data: TrainingData
) -> tuple[Precision, float, Path]:
    """int8 where it gives `INT8_AGREEMENT` of torch's labels on validation and test rows, else fp32.

    A model whose classes lie close together can lose points to rounding: it is then four times larger instead.
    """
    rows = [*data.validation, *next(iter(data.evaluation.values()), [])][:_SEEN]
    tokenizer, tokens = Tokenizer.from_str(tokenizer_json), run.settings.max_tokens
    sample = random.Random(run.settings.seed).sample(data.train, min(_CALIBRATION, len(data.train)))  # noqa: S311
    exact_graph, small = export_onnx(model, run.work), run.work / MODEL_FILES["int8"]
    quantize_static(exact_graph, small, encode(tokenizer, [e.text for e in sample], tokens))
    if not rows:
        return "int8", 1.0, small
    texts = [e.text for e in rows]
    plain = dict.fromkeys(data.heads, 1.0)
    engine = open_engine(small, tokenizer_json, data.heads, plain, tokens, name="candidate", version="0")
    exact = predict(model, tokenizer, texts, tokens)
    labelled = {head for e in rows for head in e.targets}
    same = [
        float((found.argmax(1) == exact[head].argmax(1).numpy()).mean())
        for head, found in probabilities_of(engine, texts).items()
        if head in labelled
    ]
    if model.toward is not None and (mentions := _within(tokenizer, rows, tokens)):
        found = toward_probabilities(engine, mentions).argmax(1)
        same.append(float((found == predict_toward(model, tokenizer, mentions, tokens)[1].argmax(1)).mean()))
    agreement = round(min(same), 4)
    if agreement >= INT8_AGREEMENT:
        return "int8", agreement, small
    return "fp32", agreement, fuse(exact_graph, model)


def _within(tokenizer: Tokenizer, rows: Sequence[Example], tokens: int) -> list[Example]:
    """The rows with the mentions that lie within `tokens`; rows without any are left out."""
    encoded = encode_rows(tokenizer, rows, tokens)
    kept = [
        replace(row, mentions=tuple(m for *_, m in found.mentions))
        for row, found in zip(rows, encoded, strict=True)
        if found.mentions
    ]
    return kept


def _before(base: str, data: TrainingData) -> dict[str, SetScores]:
    """The scores of the base, where it is a bundle with these heads."""
    if not (Path(base) / "manifest.json").exists():
        return {}
    try:
        engine: OnnxEngine = load_bundle(base, device="cpu")
    except BundleError as error:
        log.warning("no scores of before: the base cannot be run here: %s", error)
        return {}
    known = engine_heads(engine)
    same = {h: x for h, x in data.heads.items() if known.get(h) == list(x)}
    return evaluate_sets(engine, same, data.evaluation, every_class=data.every_class) if same else {}
