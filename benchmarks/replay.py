"""`python -m benchmarks.replay`: the alert rule on real labelled posts, as the starter model reads them.

The processes of `simulator.py` say when a post comes and whether it is negative; the posts themselves are real ones of
that label, each in its turn, tweets for one half of the keys and Chinese hotel reviews for the other. The rule counts
the model's labels: once every post that the model calls negative, and once only those with a high negative score
(`alerts.negative_from`). For comparison it also counts the true labels of the same histories.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.detector import RULE, measure
from benchmarks.simulator import Counts, Process, simulate
from models.bundle import load_bundle
from models.engine import OnnxEngine
from pipeline.alerting.evaluation.backtest import negative_scores
from pipeline.settings import STARTER

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
#: File, and the label that is negative in it.
SETS = {"tweets": ("tweeteval_sentiment.test", "negative"), "hotel reviews": ("chnsenticorp.test", "negative")}
SURE = 0.6
PROCESSES = [Process("beta-binomial", 20), Process("beta-binomial", 100), Process("2-hour swings", 100)]


class Pool:
    """Real posts of both kinds, and whether the model calls each negative with a score of `score_from` or more."""

    def __init__(self, truth: Flags, scores: Floats, score_from: float, seed: int = 5) -> None:
        """Of each post whether it is negative, and the score with which the model says so (-1 where it does not)."""
        flags, rng = scores >= score_from, np.random.default_rng(seed)
        self._runs = {kind: np.cumsum(np.tile(rng.permutation(flags[truth == kind]), 400)) for kind in (True, False)}
        self.found, self.mistaken = float(flags[truth].mean()), float(flags[~truth].mean())
        self.sizes = int(truth.sum()), int((~truth).sum())

    def read(self, start: int, posts: Counts, negatives: Counts) -> Counts:
        """How many the model calls negative in each bucket; the posts come one after the other, from `start` on."""
        called = np.zeros_like(posts)
        for kind, counts in ((True, negatives), (False, posts - negatives)):
            ends = start + np.cumsum(counts)
            run = self._runs[kind]
            ends %= len(run) // 2
            begins = np.maximum(ends - counts, 0)
            called += run[ends] - run[begins]
        return np.asarray(called)


def read_set(name: str, engine: OnnxEngine) -> tuple[Flags, Floats]:
    """What a `Pool` is made of, of the posts of one of `SETS`."""
    file, negative = SETS[name]
    with gzip.open(DATA / f"{file}.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    scores: list[float] = []
    for at in range(0, len(rows), 512):
        predictions = engine.predict([r["text"] for r in rows[at : at + 512]])
        scores += [
            p.probabilities("sentiment")["negative"] if p.label("sentiment") == "negative" else -1.0
            for p in predictions
        ]
    return np.array([str(r["label"]).lower() in {negative, "0"} for r in rows]), np.array(scores)


def _read(pools: Sequence[Pool], key: int, posts: Counts, negatives: Counts) -> Counts:
    return pools[key % len(pools)].read(97 * key, posts, negatives)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay")
    parser.add_argument("--seeds", default="1,2,3")
    seeds = tuple(map(int, parser.parse_args().seeds.split(",")))
    engine = load_bundle(STARTER)
    sets = [read_set(name, engine) for name in SETS]
    readers: dict[str, Any] = {"truth": simulate}
    for title, score_from in (("the model", 0.0), (f"from {SURE}", SURE)):
        pools = [Pool(truth, scores, score_from) for truth, scores in sets]
        for name, pool in zip(SETS, pools, strict=True):
            print(
                f"{title}, {name}: {pool.sizes[0]} negative posts, {pool.found:.0%} of them called so; "
                f"{pool.sizes[1]} others, {pool.mistaken:.0%} of them called negative"
            )
        readers[title] = partial(simulate, read=partial(_read, pools))
    print(f"{'process':16} {'/h':>4} {'read by':9} {'fire':>5} {'false':>6} {'x3':>5} {'min':>4} {'x5':>5} {'min':>4}")
    for process in PROCESSES:
        for reader, made in readers.items():
            r = measure(lambda c: negative_scores(c.history, RULE), process, seeds, made).row
            print(
                f"{process.name:16} {process.posts_per_h:4} {reader:9} {r['fire']:5.1f} {r['false']:6.3f} "
                f"{r['x3']:5.2f} {r['x3 min']:4.0f} {r['x5']:5.2f} {r['x5 min']:4.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
