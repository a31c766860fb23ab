"""Ways of training beside each other, on a task that the starter has never seen: `python -m benchmarks.training`.

Crisis tweets, informative or not (CrisisLexT26): each configuration in a process of its own, from the starter's
encoder with a fresh head, on the same rows, scored on the same 2,000 others. Needs the research data. Figures are means
over the seeds; the interval reaches from the least lower to the greatest upper end of their own 95 % intervals. The
gain is over the first of the table, row by row on the same seeds (95 % by the rows), with the range of the seeds.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel

from benchmarks.labelled_rows import all_rows
from models.engine import usable_cores
from training.config import Hyperparameters, TrainingConfig
from training.data.examples import Example
from training.evaluation.scores import accuracy_of, interval, macro_f1_of, outcomes
from training.loop.finetune import fine_tune
from training.network.encoder import Classifier
from training.network.from_bundle import from_bundle
from training.network.predict import predict
from training.run import Run

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "crisislex_t26.labeled.jsonl.gz"
HEADS = {"informative": ["no", "yes"]}
FULL = {"encoder_lr": 1e-4, "head_lr": 5e-4}
METHODS: dict[str, dict[str, Any]] = {
    "full": FULL,
    "LoRA, rank 16": {"method": "lora", "head_lr": 1e-3},
    "frozen encoder": {"method": "frozen", "head_lr": 5e-3},
    "gradual unfreezing": {"method": "gradual", **FULL},
    "from scratch": {**FULL, "scratch": True},
}
#: One row of ten is of the rare class.
IMBALANCE: dict[str, dict[str, Any]] = {
    "nothing": {**FULL, "rare": 0.1},
    "re-sampling 0.5": {**FULL, "rare": 0.1, "resample": 0.5},
    "re-sampling 1": {**FULL, "rare": 0.1, "resample": 1.0},
    "focal loss": {**FULL, "rare": 0.1, "loss": "focal"},
}
#: Three labels of ten are wrong, and there is time to learn them by heart.
EIGHT = {"wrong": 0.3, "epochs": 8.0, "label_smoothing": 0.0}
NOISE: dict[str, dict[str, Any]] = {
    "nothing": {**FULL, **EIGHT},
    "label smoothing 0.2": {**FULL, **EIGHT, "label_smoothing": 0.2},
    "generalised cross-entropy": {**FULL, **EIGHT, "loss": "gce"},
    "trimmed loss 0.3": {**FULL, **EIGHT, "small_loss_trim": 0.3},
    "early stopping": {**FULL, **EIGHT, "early_stopping": 2, "evaluate_every": 0.5},
}
REGULARISED: dict[str, dict[str, Any]] = {
    "nothing": {**FULL, "label_smoothing": 0.0, "dropout": 0.0},
    "dropout 0.1, smoothing 0.05": FULL,
    "FGM": {**FULL, "adversarial": 1.0},
    "token dropout 0.1, span swap 0.2": {**FULL, "token_dropout": 0.1, "span_swap": 0.2},
    "mixup 0.4": {**FULL, "mixup": 0.4},
    "SGD": {"optimizer": "sgd", "encoder_lr": 0.02, "head_lr": 0.05},
}
TABLES = {"methods": METHODS, "imbalance": IMBALANCE, "noise": NOISE, "regularisation": REGULARISED}


def rows() -> list[tuple[str, int]]:
    made = {r["text"]: int(r["label"] == "Related and informative") for r in all_rows(DATA)}
    texts = sorted(made)
    random.Random(5).shuffle(texts)
    return [(t, made[t]) for t in texts]


def examples(given: list[tuple[str, int]]) -> list[Example]:
    return [Example(t, "crisis", {"informative": (y,)}) for t, y in given]


def split(n: int, rare: float | None, wrong: float, seed: int) -> tuple[list[Example], list[Example], list[Example]]:
    """Training rows (made imbalanced or noisy), clean validation rows, clean test rows with both classes alike."""
    everything, rng = rows(), random.Random(seed)
    by_class = [[r for r in everything if r[1] == y] for y in (0, 1)]
    test = by_class[0][:1000] + by_class[1][:1000]
    validation = by_class[0][1000:1150] + by_class[1][1000:1150]
    share = 0.5 if rare is None else rare
    train = by_class[1][1150 : 1150 + round(n * (1 - share))] + by_class[0][1150 : 1150 + round(n * share)]
    train = [(t, 1 - y if rng.random() < wrong else y) for t, y in train]
    return examples(train), examples(validation), examples(test)


def one(options: dict[str, Any], n: int, seed: int) -> dict[str, Any]:
    """Trains one configuration and scores it."""
    torch.set_num_threads(usable_cores())
    train, validation, test = split(n, options.pop("rare", None), options.pop("wrong", 0.0), seed)
    scratch = options.pop("scratch", False)
    settings = Hyperparameters(
        **{"max_tokens": 64, "batch_tokens": 2048, "epochs": 2.0, "track": [], "seed": seed, **options}
    )
    model, tokenizer_json = from_bundle(ROOT / "models" / "starter", HEADS, settings.dropout)
    torch.manual_seed(seed)
    if scratch:
        model = Classifier(BertModel(BertConfig(**model.encoder.config.to_dict()), False), HEADS, settings.dropout)
    tokenizer, started = Tokenizer.from_str(tokenizer_json), time.monotonic()
    with tempfile.TemporaryDirectory() as work:
        run = Run(TrainingConfig(train=settings), Path(work))
        fine_tune(model, tokenizer, train, run, validation=validation)
    seconds = time.monotonic() - started
    found = predict(model, tokenizer, [e.text for e in test], settings.max_tokens)["informative"].numpy()
    o = outcomes(found, test, "informative", every_class=True)
    return {
        "accuracy": float((o.said == o.true).mean()),
        "accuracy_interval": interval(o, accuracy_of),
        "right": (o.said == o.true).tolist(),
        "macro_f1": float(macro_f1_of(o.said[None], o.true[None], 2)[0]),
        "seconds": seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def gain(runs: list[dict[str, Any]], first: list[dict[str, Any]]) -> str:
    """Accuracy over that of `first`, in points: the mean, its interval over the rows, and the range of the seeds."""
    by_seed = [100 * (np.array(a["right"], float) - b["right"]) for a, b in zip(runs, first, strict=True)]
    by_row = np.mean(by_seed, axis=0)
    half = 1.96 * by_row.std(ddof=1) / len(by_row) ** 0.5
    seeds = [d.mean() for d in by_seed]
    middle = by_row.mean()
    return f"{middle:+.1f} ({middle - half:+.1f} to {middle + half:+.1f}), {min(seeds):+.1f} to {max(seeds):+.1f}"


def in_process(options: dict[str, Any], n: int, seed: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.training", "--one", json.dumps(options), "--rows", str(n)]
    done = subprocess.run([*command, "--seeds", str(seed)], cwd=ROOT, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training")
    parser.add_argument("tables", nargs="*", default=list(TABLES), help=f"of {', '.join(TABLES)}, trainer")
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--seeds", default="1", help="several, as in 1,2,3")
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(json.loads(options.one), options.rows, int(options.seeds))))
        return
    for name in options.tables:
        if name == "trainer":
            from benchmarks.trainer import compare

            print(compare(options.rows), flush=True)
            continue
        print(f"\n{name}, {options.rows} rows, seeds {options.seeds}")
        print(
            "| | accuracy (95 %) | gain (95 %), seeds | macro F1 | minutes | peak MB |\n|---|---|---|---|---|---|",
            flush=True,
        )
        first: list[dict[str, Any]] = []
        for title, settings in TABLES[name].items():
            runs = [in_process(dict(settings), options.rows, int(seed)) for seed in options.seeds.split(",")]
            first = first or runs
            accuracy, f1, seconds = (mean(r[k] for r in runs) for k in ("accuracy", "macro_f1", "seconds"))
            low, high = min(r["accuracy_interval"][0] for r in runs), max(r["accuracy_interval"][1] for r in runs)
            print(
                f"| {title} | {accuracy:.3f} ({low:.3f} to {high:.3f}) | {gain(runs, first)} | {f1:.3f} | "
                f"{seconds / 60:.1f} | {max(r['peak_mb'] for r in runs):.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
