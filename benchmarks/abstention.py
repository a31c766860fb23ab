"""`python -m benchmarks.abstention DATA [--bundle BUNDLE]`: posts that keep a topic, by the threshold of the head.

For each labelled set it prints the share of the right labels and of the wrong labels that a threshold keeps, for sets
of everyday posts the share of posts that keep a topic. The threshold that it proposes is the highest that keeps
the share `--keep` of the right labels, as the mean over the labelled sets.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.labelled_rows import predictions_of, read_rows
from models import load_bundle
from models.engine import OnnxEngine
from pipeline.settings import STARTER
from training.config import load_config
from training.data.examples import load_source

RECIPE = Path(__file__).resolve().parents[1] / "training" / "configs" / "starter.toml"
LABELLED = ("tnews.dev", "thucnews10.dev", "online_shopping_10_cats.all", "ag_news.test")
EVERYDAY = ("smp2020_usual.test", "tweeteval_irony.test", "tweeteval_sentiment.val", "waimai_10k.all")
THRESHOLDS = (0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6)
HEAD = "topic"
Scores = NDArray[np.float64]


def labelled(engine: OnnxEngine, data: Path, name: str, most: int) -> tuple[Scores, NDArray[np.bool_]]:
    """The scores of the topics of a set's rows, and which of the topics are right."""
    config = load_config(RECIPE)
    sources = [s for s in config.evaluation + config.sources if s.file == f"{name}.jsonl.gz" and HEAD in s.heads]
    rows = [e for e in load_source(config, sources[0], data, evaluation=True) if HEAD in e.targets]
    if len(rows) > most:
        rows = [rows[i] for i in np.random.default_rng(7).choice(len(rows), most, replace=False)]
    found = predictions_of(engine, [{"text": e.text} for e in rows])
    index = {label: i for i, label in enumerate(engine.heads[HEAD].labels)}
    right = [index[p.most_probable(HEAD)] in e.targets[HEAD] for p, e in zip(found, rows, strict=True)]
    return np.array([p.score(HEAD) for p in found]), np.array(right)


def threshold_that_keeps(keep: float, sets: list[Scores]) -> float:
    """The highest threshold in hundredths that keeps the share `keep` of the scores, as the mean over the sets."""
    kept = [np.mean([np.mean(scores >= t / 100) for scores in sets]) for t in range(100)]
    return max(t for t in range(100) if kept[t] >= keep) / 100


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.abstention")
    parser.add_argument("data", type=Path, help="folder with NAME.jsonl.gz")
    parser.add_argument("--bundle", type=Path, default=STARTER)
    parser.add_argument("--keep", type=float, default=0.97)
    parser.add_argument("--most", type=int, default=3000, help="rows of each set")
    given = parser.parse_args()
    engine = load_bundle(given.bundle, device="cpu")
    print(f"{'threshold':42}" + "".join(f"{t:7.2f}" for t in THRESHOLDS))

    def show(name: str, scores: Scores) -> None:
        shares = "".join(f"{np.mean(scores >= t):7.3f}" for t in THRESHOLDS)
        print(f"{name:42}{shares}  of {len(scores)}", flush=True)

    right_of: list[Scores] = []
    for name in LABELLED:
        scores, right = labelled(engine, given.data, name, given.most)
        show(f"{name}, right topics kept", scores[right])
        show(f"{name}, wrong topics kept", scores[~right])
        right_of.append(scores[right])
    for name in EVERYDAY:
        found = predictions_of(engine, read_rows(given.data / f"{name}.jsonl.gz", given.most))
        show(f"{name}, posts with a topic", np.array([p.score(HEAD) for p in found]))
    print(f"threshold that keeps {given.keep} of the right topics: {threshold_that_keeps(given.keep, right_of):.2f}")


if __name__ == "__main__":
    main()
