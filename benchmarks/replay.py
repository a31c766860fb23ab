"""`python -m benchmarks.replay`: the alert rule on real labelled posts, as a model reads them.

The processes of `simulator.py` say when a post comes and whether it is negative; the posts themselves are real ones of
that label, each in its turn, from another data set for each key in turn. The rule works on what the model says of them:
once it counts the labels, and once it estimates the negatives from the scores. What the scores mean it knows from the
other half of each data set (`pools.py`). For comparison it also counts the true labels of the same histories.

`--targeted` takes the sets in which a sentiment belongs to a target. `--quick` scores 60 spikes of three times the
negatives, calibrated on 800 key-weeks, in one pass. `--shares` only says how far the estimated share of one hour, of
six and of a day is from the true one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.detector import RULE, TARGET, measure
from benchmarks.pools import SETS, TARGETED, Pool, Readings, information, pools_of, read_set
from benchmarks.simulator import Counts, Floats, Process, Simulated, joined, simulate
from models.bundle import load_bundle
from pipeline.alerting.counting.history import CountHistory
from pipeline.alerting.detection.negative_share import Detector
from pipeline.alerting.detection.score_model import ScoreModel
from pipeline.alerting.detection.verdicts import KeyCounts
from pipeline.alerting.evaluation.backtest import ScoreHistory, calibrate, episodes, negative_scores, thresholds
from pipeline.alerting.evaluation.episodes import Policy
from pipeline.alerting.evaluation.score_models import ScoreModels
from pipeline.settings import STARTER

PROCESSES = [Process("beta-binomial", 20), Process("beta-binomial", 100), Process("2-hour swings", 100)]
_HOUR = 4
NEAR = 0.03


class Accuracy(NamedTuple):
    """How far the stated share of windows is from the true one.

    `near` is the part within `NEAR`, `labels_near` that of the share of negative labels, `bound` the error in whose
    reach nine of ten are, `covered` the part whose 80 % interval holds the true share, `width` its mean width.
    """

    near: float
    labels_near: float
    bound: float
    covered: float
    width: float


def accuracy(case: Simulated, models: ScoreModels, hours: int) -> dict[int, Accuracy]:
    """Per key the accuracy of windows of that many hours in the last two weeks."""
    history, span = case.history, RULE.span
    sums = history.score_sums
    assert sums is not None
    detector, n_keys = Detector(RULE, models), len(history.keys)
    empty = ((0, 0), (span, 0))
    posts, negatives = np.pad(history.posts, empty), np.pad(history.negatives, empty)
    counts = KeyCounts(posts, negatives, np.pad(sums, empty), np.zeros(n_keys, np.int64))
    quiet, width, begin = np.zeros(n_keys, np.bool_), hours * _HOUR, history.posts.shape[1] - 14 * 24 * _HOUR
    errors: dict[int, list[tuple[float, float, bool, float]]] = {key: [] for key in range(n_keys)}
    for end in range(1, history.posts.shape[1] + 1):
        detector.learn(counts.between(end, end + span), quiet)
        if end < begin or (end - begin) % width:
            continue
        window = slice(end - width, end)
        n, labelled, scored, true = (
            a[:, window].sum(1) for a in (history.posts, history.negatives, sums, case.negatives)
        )
        estimated = np.clip(detector.reading.negatives(n, scored), 0, n)
        low, high = detector.reading.interval(n, estimated)
        share, posts = true / np.maximum(n, 1), np.maximum(n, 1)
        for key in np.flatnonzero(n).tolist():
            held = bool(low[key] - 1e-9 <= share[key] <= high[key] + 1e-9)
            row = estimated[key] / posts[key], labelled[key] / posts[key]
            errors[key].append((row[0] - share[key], row[1] - share[key], held, high[key] - low[key]))
    return {key: _accuracy(found) for key, found in errors.items()}


def _accuracy(rows: Sequence[tuple[float, float, bool, float]]) -> Accuracy:
    error, by_label, held, width = (np.array(column, np.float64) for column in zip(*rows, strict=True))
    return Accuracy(
        near=float((abs(error) <= NEAR).mean()),
        labels_near=float((abs(by_label) <= NEAR).mean()),
        bound=float(np.quantile(abs(error), 0.9)),
        covered=float(held.mean()),
        width=float(width.mean()),
    )


def _mean(rows: Iterable[Accuracy]) -> Accuracy:
    return Accuracy(*np.array(list(rows)).mean(0).tolist())


def _read(pools: Sequence[Pool], key: int, posts: Counts, negatives: Counts) -> tuple[Counts, Floats]:
    return pools[key % len(pools)].read(97 * key, posts, negatives)


def show_information(readings: Sequence[Readings]) -> None:
    """What a reading of a post carries about the share, relative to a judge who never errs."""
    for one in readings:
        carried = ", ".join(f"{name} {value:.2f}" for name, value in information(one).items())
        truth = one.truth
        print(
            f"{one.name}: {truth.sum()} negative posts, {one.called[truth].mean():.0%} called so, mean score "
            f"{one.scores[truth].mean():.2f}; {(~truth).sum()} others, {one.called[~truth].mean():.0%} called so, mean "
            f"score {one.scores[~truth].mean():.2f}; carried: {carried}",
            flush=True,
        )


def show_shares(readings: Sequence[Readings], models: ScoreModels, read: Any, seeds: Sequence[int]) -> None:
    """The stated share against the true one, by data set, volume and window."""
    columns = f"{'within .03':>11} {'labels':>7} {'9 of 10 in':>11} {'in interval':>12} {'width':>6}"
    print(f"{'posts':16} {'/h':>4} {'window':>7} {columns}")
    for rate in (20, 100, 500):
        for hours in (1, 6, 24):
            found: dict[str, list[Accuracy]] = {one.name: [] for one in readings}
            for seed in seeds:
                case = simulate(Process("beta-binomial", rate), 3, seed, keys=4 * len(readings), read=read)
                for key, accurate in accuracy(case, models, hours).items():
                    found[readings[key % len(readings)].name].append(accurate)
            for name, rows in found.items():
                a = _mean(rows)
                print(
                    f"{name:16} {rate:4} {hours:5} h {a.near:11.2f} {a.labels_near:7.2f} {a.bound:11.3f} "
                    f"{a.covered:12.2f} {a.width:6.3f}",
                    flush=True,
                )


def show_recall(models: ScoreModels, read: Any, seeds: tuple[int, ...]) -> None:
    """The rule on spikes, read by a judge who never errs, by the labels and by the scores."""
    print(f"{'process':16} {'/h':>4} {'read by':9} {'fire':>5} {'false':>6} {'x3':>5} {'min':>4} {'x5':>5} {'min':>4}")
    for process in PROCESSES:
        for reader, (simulated, by) in _readers(models, read).items():
            r = measure(lambda c, by=by: negative_scores(c.history, RULE, models=by), process, seeds, simulated).row  # type: ignore[misc]
            print(
                f"{process.name:16} {process.posts_per_h:4} {reader:9} {r['fire']:5.1f} {r['false']:6.3f} "
                f"{r['x3']:5.2f} {r['x3 min']:4.0f} {r['x5']:5.2f} {r['x5 min']:4.0f}",
                flush=True,
            )


class Quick(NamedTuple):
    """A rule on spikes of three times the negatives: its threshold, and which of the spikes it finds."""

    fire: float
    found: NDArray[np.bool_]


def quick(process: Process, simulated: Callable[..., Simulated], models: ScoreModels) -> Quick:
    """160 keys without spikes calibrate 60 others with one spike each; all are one history."""
    case = joined([simulated(process, 1, 0, keys=160), simulated(process, 3, 1, keys=60)])
    scores = negative_scores(case.history, RULE, models=models)
    quiet, spiked = slice(0, 160), slice(160, 220)
    by_tier = calibrate(_only(case.history, quiet), _scores_of(scores, quiet), TARGET)
    history = _only(case.history, spiked)
    found = np.zeros(60, np.bool_)
    for episode in episodes(history, _scores_of(scores, spiked), thresholds(history, 4.0, by_tier), Policy()):
        key = history.keys.index(episode.key)
        delay = (episode.fired_at - case.begin(160 + key)) / timedelta(minutes=1)
        found[key] |= 0 < delay <= 360
    return Quick(max(threshold.fire for threshold in by_tier.values()), found)


def _only(history: CountHistory, rows: slice) -> CountHistory:
    sums = None if history.score_sums is None else history.score_sums[rows]
    keys, posts, negatives = history.keys[rows], history.posts[rows], history.negatives[rows]
    return replace(history, keys=keys, posts=posts, negatives=negatives, score_sums=sums)


def _scores_of(scores: ScoreHistory, rows: slice) -> ScoreHistory:
    """The scores of some keys, without what their estimates rest on."""
    columns = {f.name: getattr(scores, f.name)[rows] for f in fields(ScoreHistory) if f.name != "estimates"}
    return ScoreHistory(**columns)


def show_quick(readings: Sequence[Readings], models: ScoreModels, read: Any) -> None:
    """The recall of x3 by who reads the posts, also for the keys of each data set."""
    print(f"{'process':16} {'/h':>4} {'read by':9} {'fire':>5} {'x3':>5}  by data set")
    for process in PROCESSES:
        for reader, (simulated, by) in _readers(models, read).items():
            made = quick(process, simulated, by)
            parts = (f"{one.name} {made.found[at :: len(readings)].mean():.2f}" for at, one in enumerate(readings))
            print(
                f"{process.name:16} {process.posts_per_h:4} {reader:9} {made.fire:5.1f} {made.found.mean():5.2f}  "
                + ", ".join(parts),
                flush=True,
            )


def _readers(models: ScoreModels, read: Any) -> dict[str, tuple[Callable[..., Simulated], ScoreModels]]:
    made = partial(simulate, read=read)
    return {"truth": (simulate, ScoreModels()), "labels": (made, ScoreModels()), "scores": (made, models)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--bundle", type=Path, default=STARTER)
    parser.add_argument("--targeted", action="store_true", help="replay the targeted sets")
    parser.add_argument("--quick", action="store_true", help="score 60 spikes in one pass")
    parser.add_argument("--shares", action="store_true", help="only say how far the stated share is from the true one")
    asked = parser.parse_args()
    seeds = tuple(map(int, asked.seeds.split(",")))
    engine = load_bundle(asked.bundle)
    readings = [read_set(name, file, engine) for name, file in (TARGETED if asked.targeted else SETS).items()]
    show_information(readings)
    groups, pools = pools_of(readings)
    model = ScoreModel.of(groups, ("negative",))
    models, read = ScoreModels(model, model), partial(_read, pools)
    if asked.shares:
        show_shares(readings, models, read, seeds)
        return
    if asked.quick:
        show_quick(readings, models, read)
        return
    show_recall(models, read, seeds)


if __name__ == "__main__":
    main()
