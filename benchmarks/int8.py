"""`python -m benchmarks.int8 OUT.work/model.plain.onnx DATA --bundle OUT`: what int8 costs, set by set.

A bundle (the starter) beside the fp32 graph that its training left, on every evaluation and calibration set of the
starter's recipe: the share of equal labels, and the accuracy of both where the set gives labels.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from models.bundle import load_bundle
from models.engine import OnnxEngine
from pipeline.settings import STARTER
from training.bundle.export import engine_with
from training.config import load_config
from training.data.examples import load_source

RECIPE = Path(__file__).resolve().parents[1] / "training" / "configs" / "starter.toml"


def classes(engine: OnnxEngine, texts: list[str], head: str) -> list[int]:
    index = {label: i for i, label in enumerate(engine.heads[head].labels)}
    batches = (engine.predict(texts[at : at + 512]) for at in range(0, len(texts), 512))
    return [index[p.most_probable(head)] for batch in batches for p in batch]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.int8")
    parser.add_argument("plain", type=Path, help="model.plain.onnx of the training run")
    parser.add_argument("data", type=Path)
    parser.add_argument("--bundle", type=Path, default=STARTER)
    given = parser.parse_args()
    small, exact = load_bundle(given.bundle, device="cpu"), engine_with(given.plain, given.bundle)
    config = load_config(RECIPE)
    for source in {s.file: s for s in [*config.evaluation, *config.calibration]}.values():
        examples = load_source(config, source, given.data, evaluation=True)
        for head in source.heads:
            rows = [e for e in examples if head in e.targets]
            texts = [e.text for e in rows]
            ours, theirs = classes(small, texts, head), classes(exact, texts, head)
            right = [[c in e.targets[head] for c, e in zip(said, rows, strict=True)] for said in (ours, theirs)]
            print(
                f"{source.file:40} {head:10} {len(rows):6} rows, {np.mean(np.equal(ours, theirs)):.4f} alike, accuracy "
                f"{np.mean(right[0]):.4f} in int8, {np.mean(right[1]):.4f} in fp32",
                flush=True,
            )


if __name__ == "__main__":
    main()
