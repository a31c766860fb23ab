"""`opinionwatch train` and `evaluate`: recipe -> weights -> calibrated, scored bundle."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import torch

from models.bundle import load_bundle
from models.engine import usable_cores
from training.calibrate import fit_temperatures
from training.config import load_config
from training.evaluate import evaluate_bundle
from training.export import export_onnx, open_engine, write_bundle
from training.recipe import train_recipe

SERVING_TOKENS = 128


def train(
    config: Path, data: Path, base: Path, out: Path, version: str, say: Callable[[str], None]
) -> dict[str, dict[str, float]]:
    """Trains (resuming in `OUT.work`), exports, calibrates, scores; returns the scores that the manifest holds."""
    logging.getLogger("onnxruntime").setLevel(logging.ERROR)
    torch.set_num_threads(usable_cores())
    recipe = load_config(config)
    work = out.with_name(out.name + ".work")
    started = time.monotonic()
    model, definition = train_recipe(recipe, data, base, work, say)
    minutes = (time.monotonic() - started) / 60
    exported = export_onnx(model, work)
    raw = open_engine(
        exported,
        definition,
        recipe.heads,
        dict.fromkeys(recipe.heads, 1.0),
        SERVING_TOKENS,
        name=recipe.name,
        version=version,
    )
    temperatures = fit_temperatures(raw, recipe, data)
    scores = evaluate_bundle(raw, recipe, data)
    write_bundle(
        exported,
        definition,
        recipe.heads,
        temperatures,
        out,
        name=recipe.name,
        version=version,
        max_tokens=SERVING_TOKENS,
        maps=recipe.maps,
        metrics={f"{key}/{name}": round(value, 4) for key, row in scores.items() for name, value in row.items()},
        training={"config": config.name, "base": base.name, "epochs": recipe.train.epochs, "minutes": round(minutes)},
    )
    load_bundle(out, device="cpu")
    return scores


def evaluate(bundle: Path, config: Path, data: Path) -> dict[str, dict[str, float]]:
    """Scores of a bundle on the evaluation files of a recipe."""
    return evaluate_bundle(load_bundle(bundle, device="cpu"), load_config(config), data)
