"""`python -m benchmarks.targets DATA --bundle OUT`: sentiment toward a target, beside the whole text's taken for it.

Per targeted test set of `training/configs/toward.toml`: macro F1 of both, and the share of wrong ones among the
mentions that are called negative. Then how much the probability of negative changes where all names of the news and the
tweets are exchanged for others; and, where a subject is named more than once, four ways to combine its mentions.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.bundle import load_bundle
from models.engine import OnnxEngine
from models.heads import TOWARD
from pipeline.settings import STARTER
from training.config import MentionColumns, Source, Target, TrainingConfig, load_config
from training.data.examples import Example, load_source
from training.data.mentions import mention_examples
from training.data.renaming import Renamer
from training.evaluation.evaluate import BY_SENTIMENT, evaluate_sets, toward_probabilities
from training.evaluation.scores import Probabilities, macro_f1, outcomes, wrong_share

RECIPE = Path(__file__).resolve().parents[1] / "training" / "configs" / "toward.toml"
#: Sets whose targets are names, and development sets for the choice between ways to combine mentions.
NAMED = ("targeted/newsmtsc.test_mt.jsonl.gz", "targeted/acl14twitter.train.jsonl.gz")
DEVELOPMENT = (
    "targeted/newsmtsc.dev_mt.jsonl.gz",
    "targeted/mams.val.jsonl.gz",
    "targeted/acl14twitter.train.jsonl.gz",
)


def targeted(config: TrainingConfig, file: str, data: Path) -> list[Example]:
    """The rows of a set, each target taken for a name."""
    fifth = file.startswith("targeted/acl14twitter")
    heads = {TOWARD: Target(field="sentiment")}
    source = Source(file=file, heads=heads, mention=MentionColumns(names=True), held_out_fifth=fifth)
    return load_source(config, source, data, evaluation=True)


def name_change(engine: OnnxEngine, rows: list[Example]) -> float:
    """The mean absolute change of the probability of negative where every name becomes another."""
    rename, rng = Renamer(rows, 1.0), random.Random(25)
    renamed = [rename(row, rng) for row in rows]
    pairs = [(a, b) for a, b in zip(rows, renamed, strict=True) if len(a.mentions) == len(b.mentions)]
    before, after = (toward_probabilities(engine, [pair[i] for pair in pairs])[:, 0] for i in (0, 1))
    return float(np.abs(before - after).mean())


def combined(logits: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Ways to make one line of log probabilities of those of several mentions, [mentions, 3]."""
    probabilities = np.exp(logits)
    negative = 1 - np.prod(1 - probabilities[:, 0])
    rest = probabilities[:, 1:].mean(0)
    noisy_or = np.array([negative, *(rest / rest.sum() * (1 - negative))])
    return {
        "first mention": logits[0],
        "mean of logits": logits.mean(0),
        "most negative": logits[logits[:, 0].argmax()],
        "noisy-or": np.log(np.clip(noisy_or, 1e-9, 1)),
    }


def everywhere(rows: list[Example]) -> Iterator[Example]:
    """One row per labelled target that its text names more than once, with a mention at each place of the name."""
    for row in rows:
        for one in mention_examples(row):
            mention = one.mentions[0]
            name, places, at = row.text[mention.start : mention.end], list[int](), -1
            while (at := row.text.find(name, at + 1)) >= 0:
                places.append(at)
            if len(places) > 1:
                yield replace(one, mentions=tuple(replace(mention, start=p, end=p + len(name)) for p in places))


def combinations(engine: OnnxEngine, rows: list[Example]) -> dict[str, tuple[float, float]]:
    """Macro F1 and the share of wrong negatives of each way to combine the mentions of a subject."""
    whole = np.log(np.clip(toward_probabilities(engine, rows).astype(np.float64), 1e-9, 1))
    ends = np.cumsum([len(row.mentions) for row in rows])
    ways: dict[str, list[NDArray[np.float64]]] = {}
    for part in np.split(whole, ends[:-1]):
        for way, line in combined(part).items():
            ways.setdefault(way, []).append(line)
    found: dict[str, tuple[float, float]] = {}
    for way, lines in ways.items():
        probabilities: Probabilities = np.exp(np.array(lines)).astype(np.float32)
        judged = outcomes(probabilities, rows, TOWARD, every_class=True)
        found[way] = macro_f1(probabilities, rows, TOWARD), wrong_share(judged, 0)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.targets")
    parser.add_argument("data", type=Path)
    parser.add_argument("--bundle", type=Path, default=STARTER)
    given = parser.parse_args()
    engine, config = load_bundle(given.bundle, device="cpu"), load_config(RECIPE)
    for source in config.evaluation:
        if TOWARD not in source.heads:
            continue
        rows = load_source(config, source, given.data, evaluation=True)
        result = evaluate_sets(engine, config.heads, {"set": rows})
        whole = result[f"set/{BY_SENTIMENT}"]
        line = f"{source.file:40} {whole.figures.rows:5} mentions, by the whole text: "
        line += f"macro F1 {whole.figures.macro_f1:.3f}"
        line += f", wrong negatives {whole.wrong_negatives or 0:.3f}"
        if (toward := result.get(f"set/{TOWARD}")) is not None:
            line += f"; toward: {toward.figures.macro_f1:.3f}, {toward.wrong_negatives or 0:.3f}"
            line += f", calibration error {toward.figures.calibration_error:.3f}"
        print(line, flush=True)
    if engine.toward is None:
        return
    for file in NAMED:
        change = name_change(engine, targeted(config, file, given.data))
        print(f"{file:40} names exchanged: the probability of negative changes by {change:.3f}", flush=True)
    often = [row for file in DEVELOPMENT for row in everywhere(targeted(config, file, given.data))]
    print(f"{len(often)} targets of the development sets that their texts name more than once:")
    for way, (score, wrong) in combinations(engine, often).items():
        print(f"  {way:16} macro F1 {score:.3f}, wrong negatives {wrong:.3f}")


if __name__ == "__main__":
    main()
