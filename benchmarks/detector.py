"""`python -m benchmarks.detector`: compares the rule with a baseline and with peers' rules, on seeds kept for testing.

The baseline is a beta-binomial tail against the plain 7-day share, the maximum over 1, 3 and 6 hours, with one
overdispersion for all keys and the same gates. Its threshold, and those of the peers (`peerrules.py`), are calibrated
on the same seed to the same rate. For the peers it also prints how often they alert without that calibration.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from benchmarks.peerrules import PEERS, last, week_share
from benchmarks.simulator import (
    BUCKET_S,
    DAY,
    NOISES,
    START,
    CountedStore,
    Process,
    Simulated,
    brands,
    joined,
    simulate,
)
from pipeline.alerting.counting.history import CountHistory
from pipeline.alerting.detection.negative_share import DetectorConfig
from pipeline.alerting.detection.tail import log10_tail
from pipeline.alerting.evaluation.backtest import ScoreHistory, calibrate, episodes, negative_scores, thresholds
from pipeline.alerting.evaluation.episodes import Episode, Policy
from pipeline.alerting.evaluation.evaluator import Evaluator
from pipeline.domain.counting import NegativeDefinition

TARGET, RESAMPLES = 0.1, 4000
RULE = DetectorConfig.every(BUCKET_S)
_HOUR = 3600 // BUCKET_S
#: The rows of the published table, then generators that nothing was chosen on.
PUBLISHED = [Process(noise, rate) for noise in NOISES for rate in (20, 100, 500)]
FURTHER = [
    Process("beta-binomial", 100, step=True),
    Process("heavy tails", 100, step=True),
    Process("2-hour swings", 100, step=True),
    Process("beta-binomial", 20, night=True),
    Process("beta-binomial", 100, share=0.05),
    Process("2-hour swings", 100, share=0.5),
    Process("beta-binomial", 20, reposts=0.2),
    Process("heavy tails", 100, misread=True),
]


def baseline_scores(history: CountHistory) -> ScoreHistory:
    """See the module's docstring."""
    score, best_n, best_k = (np.zeros(history.posts.shape) for _ in range(3))
    window = np.full(score.shape, _HOUR)
    taught = np.arange(history.posts.shape[1]) + 1 >= 7 * DAY
    share = week_share(history)
    for width in (_HOUR, 3 * _HOUR, 6 * _HOUR):
        n, k = last(history.posts, width), last(history.negatives, width)
        gate = (k >= RULE.min_negatives) & (k >= RULE.min_lift * n * share) & taught
        rows = np.nonzero(gate)
        m = 1 / 0.01 - 1
        value = -log10_tail(
            cast("NDArray[np.int64]", k[rows]),
            cast("NDArray[np.int64]", n[rows]),
            share[rows] * m,
            (1 - share[rows]) * m,
        )
        better = value > score[rows]
        at = tuple(index[better] for index in rows)
        score[at], window[at], best_n[at], best_k[at] = value[better], width, n[at], k[at]
    return ScoreHistory(
        score, window, best_n.astype(np.int64), best_k.astype(np.int64), best_n * share, share,
        np.zeros_like(score, np.bool_),
    )  # fmt: skip


class Measured(NamedTuple):
    """`row`: false alerts per key-week, recall and median delay (minutes) at x3 and x5; `found[3]`: bool per spike."""

    row: dict[str, float]
    found: dict[int, NDArray[np.bool_]]


def measure(
    score: Callable[[Simulated], ScoreHistory],
    process: Process,
    seeds: tuple[int, ...],
    simulate: Callable[..., Simulated] = simulate,
    usual: float | None = None,
) -> Measured:
    """A rule on spikes of three and of five times the negatives; with the threshold `usual`, also its false alerts.

    Calibrated on 1,200 key-weeks of seed 0: 120 episodes, so that the threshold is known to a tenth of its rate. The
    keys of all `seeds`, 30 of each, are one history.
    """
    quiet = simulate(process, 1, 0, keys=240)
    by_tier = calibrate(quiet.history, score(quiet), TARGET)

    def alerts(case: Simulated) -> list[Episode]:
        return episodes(case.history, score(case), thresholds(case.history, 4.0, by_tier), Policy())

    case = joined([simulate(process, 1, seed) for seed in seeds])
    row = {"false": len(alerts(case)) / case.history.key_weeks, "fire": max(t.fire for t in by_tier.values())}
    if usual is not None:
        as_set_up = episodes(case.history, score(case), [usual] * len(case.history.keys), Policy())
        row["false, not calibrated"] = len(as_set_up) / case.history.key_weeks
    found: dict[int, NDArray[np.bool_]] = {}
    for times in (3, 5):
        case = joined([simulate(process, times, seed) for seed in seeds])
        hits: dict[str, float] = {}
        for episode in alerts(case):
            begin = case.begin(case.history.keys.index(episode.key))
            delay = (episode.fired_at - begin) / timedelta(minutes=1)
            if 0 < delay <= 360:
                hits.setdefault(episode.key, delay)
        found[times] = np.array([key in hits for key in case.history.keys])
        row[f"x{times}"] = float(found[times].mean())
        row[f"x{times} min"] = statistics.median(hits.values()) if hits else float("nan")
    return Measured(row, found)


def gain(ours: NDArray[np.bool_], others: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Difference of two recalls on the same spikes, with its 95 % interval (bootstrap over the spikes)."""
    each = ours.astype(float) - others
    drawn = np.random.default_rng(0).integers(0, len(each), (RESAMPLES, len(each)))
    low, high = np.quantile(each[drawn].mean(1), (0.025, 0.975))
    return float(each.mean()), float(low), float(high)


def after_another(days: int, posts_per_h: float, seeds: tuple[int, ...]) -> dict[str, float]:
    """The evaluator on the second of two crises, with and without the first: median score, and how often it alerts."""
    found: dict[str, float] = {"days": days, "posts_per_h": posts_per_h}
    for name, first in (("with", 90), ("without", 0)):
        best = []
        for seed in seeds:
            history, begin = brands(posts_per_h, days, first=first, seed=seed)
            store: Any = CountedStore(history)
            evaluator = Evaluator(store, NegativeDefinition(), DetectorConfig(), Policy())
            evaluator.resume()
            list(evaluator.advance(START + timedelta(hours=1)))
            events = [e for chunk in evaluator.advance(store.bounds()[1]) for e in chunk]
            mine = [e.episode for e in events if e.episode.scope.subject == "b1"]
            late = [e.peak.score for e in mine if e.fired_at > history.end_of(begin)]
            best.append(max(late, default=0.0))
        found |= {f"score {name}": statistics.median(best), f"told {name}": float(np.mean(np.array(best) > 0))}
    return found


def main() -> None:
    """Prints a row per generator, ours and the baseline; `--json`: one JSON value; `--seeds 1,2,3` to score on.

    `--after-another`: only how the second of two crises on one day is found, in sparse and in dense keys.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--after-another", action="store_true")
    asked = parser.parse_args()
    seeds = tuple(map(int, asked.seeds.split(",")))
    if asked.after_another:
        for days, posts_per_h in ((10, 8.0), (10, 24.0), (10, 80.0), (28, 8.0), (28, 24.0), (28, 80.0)):
            found_row = after_another(days, posts_per_h, seeds)
            print(json.dumps({k: round(v, 2) for k, v in found_row.items()}), flush=True)
        return
    rules = {"ours": lambda c: negative_scores(c.history, RULE), "baseline": lambda c: baseline_scores(c.history)}
    rules |= {
        peer.name: lambda c, peer=peer: peer.scores(c.history)  # type: ignore[misc]
        for peer in PEERS
    }
    usual = {peer.name: peer.usual for peer in PEERS}
    once = lru_cache(maxsize=4 * len(seeds))(simulate)
    found, gains = list[dict[str, object]](), dict[str, list[float]](published=[], further=[])
    if not asked.json:
        print(
            f"{'process':28} {'/h':>4} {'':11} {'fire':>5} {'false':>6} {'x3':>5} {'min':>4} {'x5':>5} {'min':>4}  "
            "false, not calibrated"
        )
    for name, processes in (("published", PUBLISHED), ("further", FURTHER)):
        for process in processes:
            measured = {rule: measure(score, process, seeds, once, usual.get(rule)) for rule, score in rules.items()}
            more, low, high = gain(measured["ours"].found[3], measured["baseline"].found[3])
            measured["ours"].row.update({"x3 gain": more, "x3 gain from": low, "x3 gain to": high})
            gains[name].append(more)
            for rule, (r, _) in measured.items():
                told = {k: None if math.isnan(v) else v for k, v in r.items()}
                found.append({"process": process.name, "posts_per_h": process.posts_per_h, "rule": rule, **told})
                if not asked.json:
                    print(
                        f"{process.name:28} {process.posts_per_h:4} {rule:11} {r['fire']:5.1f} {r['false']:6.3f} "
                        f"{r['x3']:5.2f} {r['x3 min']:4.0f} {r['x5']:5.2f} {r['x5 min']:4.0f}"
                        + (f"  {r['false, not calibrated']:5.2f}" if rule in usual else ""),
                        flush=True,
                    )
            if not asked.json:
                print(f"{'':35} x3 {more:+.3f} ({low:+.3f} to {high:+.3f})", flush=True)
    summary = {k: {"x3_gain_mean": round(float(np.mean(g)), 4), "x3_gain_worst": min(g)} for k, g in gains.items()}
    if asked.json:
        print(json.dumps({"rows": found, **summary}))
        return
    for name, gained in summary.items():
        mean, worst = gained.values()
        print(f"{name}: x3 recall against the baseline: mean {mean:+.3f}, worst {worst:+.3f}")


if __name__ == "__main__":
    main()
