"""`opinionwatch train` and `evaluate`: rows -> weights -> calibrated, scored bundle with a report."""

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

from models.bundle import Bundle, BundleError, Manifest, load_bundle, read_manifest
from models.engine import usable_cores
from training.bundle.bundling import make_bundle
from training.bundle.export import add_gpu_graph, export_onnx, fuse, write_bundle
from training.config import TrainingConfig, TrainingConfigError, load_config
from training.data.dataset import read_dataset
from training.data.examples import Example, unlabelled_examples
from training.data.perturbations import disturbed
from training.evaluation.evaluate import evaluate_sets
from training.evaluation.label_errors import suspects
from training.evaluation.report import write_report
from training.loop.distillation import check_teachers, soft_labels, with_soft_labels
from training.loop.finetune import Progress, save
from training.loop.forgetting import keep_what_is_known
from training.loop.process_group import World, join_world
from training.loop.weight_averaging import trained_weights
from training.network.base_model import starting_point
from training.network.encoder import Classifier
from training.network.from_bundle import restore_bundle
from training.request import Job, Request, evaluation_sets, job_of_files, job_of_recipe


def train(
    request: Request, say: Callable[[str], None], progress: Callable[[Progress], None] | None = None
) -> dict[str, Any]:
    """Trains (going on from `OUT.work` where a run was ended), exports, calibrates, scores; returns the report.

    Raises `TrainingConfigError` before any training where the request cannot work.
    """
    logging.getLogger("onnxruntime").setLevel(logging.ERROR)
    torch.set_num_threads(usable_cores())
    world = join_world()
    config = load_config(request.config) if request.config else TrainingConfig()
    if request.seed is not None:
        config = config.model_copy(update={"train": config.train.model_copy(update={"seed": request.seed})})
    job = _job(request, config)
    check_teachers(request.teachers, job.heads)
    for line in job.lines if world.first else ():
        say(line)
    work = request.out.with_name(request.out.name + ".work")
    say_first = say if world.first else (lambda _: None)
    if world.first:
        _same_or_new(work, request, config, say)
    world.wait_for_all()
    started = time.monotonic()
    tell = progress or (lambda p: say_first(progress_line(p)))
    model, definition = _trained(request, config, job, work, say_first, tell, world)
    minutes = (time.monotonic() - started) / 60
    if not world.first:
        return {}
    name = request.name or config.name
    report = make_bundle(model, definition, config, job, request, name, minutes, work)
    report["data"] = job.report
    (request.out / "report.json").write_text(json.dumps(report, ensure_ascii=False, indent=1), "utf-8")
    write_report(report, request.out / "report.html")
    load_bundle(request.out, device="cpu")
    return report


def evaluate(
    bundle: Bundle, data: Sequence[Path], head: str, config: Path | None, data_dir: Path | None
) -> dict[str, Any]:
    """Scores of a bundle on labelled files, or on the evaluation files of a recipe."""
    engine = load_bundle(bundle, device="cpu")
    heads = {h.name: list(h.labels) for h in engine.heads.values()}
    if config is not None:
        if data_dir is None:
            raise TrainingConfigError("--config names files: say their folder with --data-dir")
        return evaluate_sets(engine, heads, evaluation_sets(load_config(config), data_dir))
    found = read_dataset(data, heads=heads, head=head)
    rows = [*found.train, *found.validation, *found.test]
    return evaluate_sets(engine, heads, {"data": rows}, every_class=True)


def noise_report(data: Sequence[Path], head: str, limit: int) -> list[dict[str, Any]]:
    """Labels that the other rows speak against, the most suspect first."""
    found = read_dataset(data, head=head)
    return suspects([*found.train, *found.validation, *found.test], found.heads, limit)


def export(bundle: Path, out: Path, precision: Literal["fp32", "fp16", "fp16-packed"] = "fp32") -> Path:
    """The bundle's int8 weights in another precision: what int8 is compared with, or what a GPU runs."""
    manifest, heads, model, definition = _restored(bundle)
    plain = export_onnx(model, out.with_name(out.name + ".work"))
    half, packed = precision != "fp32", precision == "fp16-packed"
    return write_bundle(
        fuse(plain, model, half=half, packed=packed),
        definition,
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


def export_for_gpu(bundle: Path, out: Path) -> Path:
    """The bundle as it is, with another graph beside its own: what a GPU runs. Unsigned, its version ends in -gpu."""
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
    return manifest, heads, *restore_bundle(bundle, heads, 0.0)


def progress_line(p: Progress) -> str:
    """One report as a line."""
    scored = f"  validation macro F1 {p.validation:.4f}" if p.validation is not None else ""
    return (
        f"step {p.step}/{p.steps}  loss {p.loss:.4f}  {p.rows_per_s:.0f} rows/s  {p.minutes_left:.1f} min left{scored}"
    )


def _same_or_new(work: Path, request: Request, config: TrainingConfig, say: Callable[[str], None]) -> None:
    """A work folder of another request is emptied: only the same run may go on from it."""
    files = [hashlib.sha256(f.read_bytes()).hexdigest() for f in request.data]
    manifests = [hashlib.sha256((t / "manifest.json").read_bytes()).hexdigest() for t in request.teachers]
    wanted = json.dumps([request.base, request.head, files, manifests, config.model_dump()], ensure_ascii=False)
    mark = work / "request.json"
    if mark.exists() and mark.read_text("utf-8") == wanted:
        say(f"going on with the run in {work}")
        return
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    mark.write_text(wanted, "utf-8")


def _job(request: Request, config: TrainingConfig) -> Job:
    if request.data:
        manifest = Path(request.base) / "manifest.json"
        base_heads = {}
        if manifest.exists():
            try:
                base_heads = {h.name: h.labels for h in read_manifest(Path(request.base)).heads}
            except BundleError as error:
                raise TrainingConfigError(f"--base {request.base}: {error}") from None
        return job_of_files(config, request.data, request.head, base_heads)
    if config.sources:
        return job_of_recipe(config, request.data_dir)
    raise TrainingConfigError("nothing to train on: give --data FILE, or --config with [[sources]] and --data-dir")


def _trained(
    request: Request,
    config: TrainingConfig,
    job: Job,
    work: Path,
    say: Callable[[str], None],
    tell: Callable[[Progress], None],
    world: World,
) -> tuple[Classifier, str]:
    model, definition = starting_point(request.base, config, job.heads, job.train, work, request.data_dir, say)
    weights, share = work / "weights.pt", config.train.base_share
    base_state = {k: v.clone() for k, v in model.state_dict().items()} if share else {}
    if not weights.exists():
        rows = keep_what_is_known(model, Tokenizer.from_str(definition), job.train, request.base, config.train)
        rows = _taught(request, config, job, rows, work, say, world)
        rows += disturbed(rows, config.train.disturbed, config.train.seed)
        say(f"{len(rows)} training rows, method {config.train.method}, on {world.device}")
        trained = trained_weights(
            model, Tokenizer.from_str(definition), rows, job.validation, config.train, work, say, tell, world
        )
        if world.first:
            save(weights, trained)
    if weights.exists():
        trained = torch.load(weights, weights_only=True)
        mixed = {k: torch.lerp(trained[k], v, share) for k, v in base_state.items() if v.is_floating_point()}
        model.load_state_dict({**trained, **mixed})
    return model.eval(), definition


def _taught(
    request: Request,
    config: TrainingConfig,
    job: Job,
    rows: list[Example],
    work: Path,
    say: Callable[[str], None],
    world: World,
) -> list[Example]:
    """The rows and the recipe's unlabelled texts with what the teachers say, which `work` keeps."""
    if not request.teachers:
        return rows
    kept = work / "soft.npy"
    if request.data_dir:
        scored = (e for examples in (job.validation, *job.evaluation.values()) for e in examples)
        rows = [*rows, *unlabelled_examples(config, request.data_dir, [*rows, *scored])]
    if world.first and not kept.exists():
        say(f"soft labels of {len(rows)} rows, by {', '.join(t.name for t in request.teachers)}")
        soft = soft_labels(request.teachers, job.heads, [r.text for r in rows], config.train.max_tokens, world.device)
        partial = work / "soft.partial.npy"
        np.save(partial, soft)
        partial.replace(kept)
    world.wait_for_all()
    return with_soft_labels(rows, np.load(kept))
