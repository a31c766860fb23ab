"""`opinionwatch train`, `evaluate`, `export` and `noise`: rows -> weights -> calibrated bundle with a report."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tokenizers import Tokenizer

from models.atomic_file import replacing
from models.bundle import Bundle, BundleError, Manifest, load_bundle, read_manifest
from models.engine import usable_cores
from models.heads import TOWARD, TOWARD_LABELS
from training.bundle.bundling import make_bundle
from training.bundle.export import add_gpu_graph, export_onnx, fuse, write_bundle
from training.bundle.limits import keep_limits
from training.config import TrainingConfig, TrainingConfigError, load_config, with_toward_last
from training.data.dataset import read_dataset
from training.data.examples import Example, unlabelled_examples
from training.data.perturbations import perturbed_copies
from training.data.training_data import TrainingData, data_of_files, data_of_recipe, evaluation_sets
from training.evaluation.evaluate import engine_heads, evaluate_sets
from training.evaluation.label_errors import LabelError, label_errors
from training.evaluation.report import write_report
from training.evaluation.training_report import scores_json
from training.loop.distillation import check_teachers, soft_labels, with_soft_labels
from training.loop.finetune import save
from training.loop.forgetting import with_base_labels
from training.loop.weight_averaging import averaged_weights
from training.network.base_model import base_model
from training.network.encoder import Classifier
from training.network.from_bundle import from_bundle
from training.process_group import join_process_group
from training.progress import Progress
from training.request import Request
from training.run import Reporter, Run


def train(
    request: Request, log: Callable[[str], None], on_progress: Callable[[Progress], None] | None = None
) -> dict[str, Any]:
    """Trains, exports, calibrates and scores; returns the report. Resumes from `OUT.work` where a run was killed.

    Without `on_progress`, `log` gets the progress as lines. Raises `TrainingConfigError` before any training where
    the request cannot work.
    """
    logging.getLogger("onnxruntime").setLevel(logging.ERROR)
    torch.set_num_threads(usable_cores())
    group = join_process_group()
    config = load_config(request.config) if request.config else TrainingConfig()
    if request.seed is not None:
        config = config.model_copy(update={"train": config.train.model_copy(update={"seed": request.seed})})
    run = Run(config, request.work, Reporter(log, on_progress or (lambda p: log(p.line()))), group)
    data = _data(request, config)
    check_teachers(request.teachers, data.heads)
    for line in data.report.lines() if data.report else ():
        run.log(line)
    if group.first:
        _resume_or_clear(run, request)
    group.wait_for_all()
    started = time.monotonic()
    model, tokenizer_json = _trained(request, data, run)
    minutes = (time.monotonic() - started) / 60
    if not group.first:
        return {}
    report = make_bundle(model, tokenizer_json, run, data, request, minutes)
    keep_limits(Path(request.base), request.out)
    written = dict(report.to_json())
    (request.out / "report.json").write_text(json.dumps(written, ensure_ascii=False, indent=1), "utf-8")
    write_report(report, request.out / "report.html")
    load_bundle(request.out, device="cpu")
    return written


def evaluate(
    bundle: Bundle, data: Sequence[Path], head: str, config: Path | None, data_dir: Path | None
) -> dict[str, Any]:
    """Scores of a bundle on labelled files, or on the evaluation files of a recipe."""
    engine = load_bundle(bundle, device="cpu")
    heads = engine_heads(engine)
    if config is not None:
        if data_dir is None:
            raise TrainingConfigError("--config names files: give their folder with --data-dir")
        return scores_json(evaluate_sets(engine, heads, evaluation_sets(load_config(config), data_dir)))
    found = read_dataset(data, heads=with_toward_last({**heads, TOWARD: TOWARD_LABELS}), head=head)
    rows = [*found.train, *found.validation, *found.test]
    return scores_json(evaluate_sets(engine, heads, {"data": rows}, every_class=True))


def label_error_report(data: Sequence[Path], head: str, limit: int) -> list[LabelError]:
    """Labels that the other rows contradict, the most suspect first."""
    found = read_dataset(data, head=head)
    return label_errors([*found.train, *found.validation, *found.test], found.heads, limit)


def export(bundle: Path, out: Path, precision: Literal["fp32", "fp16", "fp16-packed"] = "fp32") -> Path:
    """Writes the bundle's int8 weights in another precision: to compare with int8, or to run on a GPU."""
    manifest, heads, model, tokenizer_json = _restored(bundle)
    plain = export_onnx(model, out.with_name(out.name + ".work"))
    half, packed = precision != "fp32", precision == "fp16-packed"
    written = write_bundle(
        fuse(plain, model, half=half, packed=packed),
        tokenizer_json,
        heads,
        {h.name: h.temperature for h in manifest.heads},
        out,
        name=manifest.name,
        version=f"{manifest.version}-{precision}",
        max_tokens=manifest.max_tokens,
        maps=manifest.label_maps,
        metrics={},
        training=manifest.training,
        precision=precision,
        judged=fuse(plain, model, half=half) if packed else None,
    )
    keep_limits(bundle, written)
    return written


def export_for_gpu(bundle: Path, out: Path) -> Path:
    """Writes the bundle with a second graph that a GPU runs. The result is unsigned, and its version ends in -gpu."""
    if out.resolve() == bundle.resolve():
        raise TrainingConfigError(f"--out {out} is the bundle itself: name another folder")
    manifest, _, model, _ = _restored(bundle)
    plain = export_onnx(model, out.with_name(out.name + ".work"))
    out.mkdir(parents=True, exist_ok=True)
    for file in (*manifest.files, "manifest.json"):
        shutil.copyfile(bundle / file, out / file)
    add_gpu_graph(out, plain, model, version=f"{manifest.version}-gpu")
    return out


def _restored(bundle: Path) -> tuple[Manifest, dict[str, list[str]], Classifier, str]:
    manifest = read_manifest(bundle)
    heads = {h.name: h.labels for h in manifest.heads}
    return manifest, heads, *from_bundle(bundle, heads, 0.0)


def _resume_or_clear(run: Run, request: Request) -> None:
    """Clears the work folder of another request: only the same request may resume from it."""
    files = [hashlib.sha256(f.read_bytes()).hexdigest() for f in request.data]
    manifests = [hashlib.sha256((t / "manifest.json").read_bytes()).hexdigest() for t in request.teachers]
    wanted = json.dumps([request.base, request.head, files, manifests, run.config.model_dump()], ensure_ascii=False)
    mark = run.work / "request.json"
    if mark.exists() and mark.read_text("utf-8") == wanted:
        run.log(f"resuming the run in {run.work}")
        return
    shutil.rmtree(run.work, ignore_errors=True)
    run.work.mkdir(parents=True)
    mark.write_text(wanted, "utf-8")


def _data(request: Request, config: TrainingConfig) -> TrainingData:
    if request.data:
        manifest = Path(request.base) / "manifest.json"
        base_heads = {}
        if manifest.exists():
            try:
                base_heads = {h.name: h.labels for h in read_manifest(Path(request.base)).heads}
            except BundleError as error:
                raise TrainingConfigError(f"--base {request.base}: {error}") from None
        return data_of_files(config, request.data, request.head, base_heads)
    if config.sources:
        return data_of_recipe(config, request.data_dir)
    raise TrainingConfigError("there is no data to train on: give --data FILE, or --config with [[sources]]")


def _trained(request: Request, data: TrainingData, run: Run) -> tuple[Classifier, str]:
    settings, group = run.settings, run.group
    model, tokenizer_json = base_model(request.base, run, data.heads, data.train, request.data_dir)
    weights, alpha = run.work / "weights.pt", settings.wise_ft_alpha
    base_state = {k: v.clone() for k, v in model.state_dict().items()} if alpha < 1 else {}
    if not weights.exists():
        tokenizer = Tokenizer.from_str(tokenizer_json)
        rows = with_base_labels(model, tokenizer, data.train, request.base, settings)
        rows = _with_teachers(request, data, rows, run)
        rows += perturbed_copies(rows, settings.perturbed_share, settings.seed)
        run.log(f"{len(rows)} training rows, method {settings.method}, on {group.device}")
        trained = averaged_weights(model, tokenizer, rows, data.validation, run)
        if group.first:
            save(weights, trained)
    if weights.exists():
        trained = torch.load(weights, weights_only=True)
        mixed = {k: torch.lerp(v, trained[k], alpha) for k, v in base_state.items() if v.is_floating_point()}
        model.load_state_dict({**trained, **mixed})
    return model.eval(), tokenizer_json


def _with_teachers(request: Request, data: TrainingData, rows: list[Example], run: Run) -> list[Example]:
    """The rows and the recipe's unlabelled texts with the teachers' soft labels, which the work folder keeps."""
    if not request.teachers:
        if bare := next((r for r in rows if not r.targets and not r.mentions and r.soft is None), None):
            raise TrainingConfigError(
                f"source {bare.source} has no heads: its rows learn from a teacher's soft labels only. Give --teacher "
                "BUNDLE, or name its heads"
            )
        return rows
    kept = run.work / "soft.npy"
    if request.data_dir:
        scored = (e for examples in (data.validation, *data.evaluation.values()) for e in examples)
        rows = [*rows, *unlabelled_examples(run.config, request.data_dir, [*rows, *scored])]
    if run.group.first and not kept.exists():
        run.log(f"soft labels of {len(rows)} rows, by {', '.join(t.name for t in request.teachers)}")
        places = {text: i for i, text in enumerate(dict.fromkeys(r.text for r in rows))}
        soft = soft_labels(request.teachers, data.heads, list(places), run.settings.max_tokens, run.group.device)
        soft = soft[[places[r.text] for r in rows]]
        with replacing(kept) as partial, partial.open("wb") as file:
            np.save(file, soft)
    run.group.wait_for_all()
    return with_soft_labels(rows, np.load(kept))
