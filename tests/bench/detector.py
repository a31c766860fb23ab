"""`python -m tests.bench.detector`: the rule beside the baseline to beat, on seeds not used to calibrate.

The baseline: beta-binomial tail against the plain 7-day share, max over 1, 3 and 6 hours, one overdispersion for all,
the same gates, its threshold calibrated on the same seed to the same rate.
"""

from __future__ import annotations

import json
import statistics
import sys
from datetime import timedelta

import numpy as np

from pipeline.alerting.backtest import Scores, calibrate, episodes, negative_scores, thresholds
from pipeline.alerting.detector import Rule, log10_tail
from pipeline.alerting.episodes import Policy
from pipeline.alerting.history import History
from tests.bench.simulator import BUCKET_S, DAY, NOISES, Simulated, simulate

TARGET = 0.1
RULE = Rule.every(BUCKET_S)


def baseline_scores(history: History) -> Scores:
    """See the module's docstring."""
    posts, negatives = (np.pad(np.cumsum(a, 1), ((0, 0), (1, 0))) for a in (history.posts, history.negatives))
    n_keys, n_buckets = history.posts.shape
    score, best_n, best_k = (np.zeros((n_keys, n_buckets)) for _ in range(3))
    window = np.full((n_keys, n_buckets), RULE.windows[0])
    ends = np.arange(1, n_buckets + 1)
    week = np.maximum(ends - 7 * DAY, 0)
    share = np.clip((negatives[:, ends] - negatives[:, week] + 4) / (posts[:, ends] - posts[:, week] + 20), 0.005, 0.95)
    for width in RULE.windows:
        starts = np.maximum(ends - width, 0)
        n, k = posts[:, ends] - posts[:, starts], negatives[:, ends] - negatives[:, starts]
        gate = (k >= RULE.min_negatives) & (k >= RULE.min_lift * n * share) & (ends >= 7 * DAY)
        rows = np.nonzero(gate)
        m = 1 / 0.01 - 1
        value = -log10_tail(k[rows], n[rows], share[rows] * m, (1 - share[rows]) * m)
        better = value > score[rows]
        at = tuple(index[better] for index in rows)
        score[at], window[at], best_n[at], best_k[at] = value[better], width, n[at], k[at]
    return Scores(
        score, window, best_n.astype(np.int64), best_k.astype(np.int64), best_n * share, share,
        np.zeros_like(score, np.bool_),
    )  # fmt: skip


def measure(scorer: object, noise: str, rate: float, seeds: tuple[int, ...]) -> dict[str, float]:
    """False alerts per key-week, recall and median delay (minutes) at x3 and x5, on `seeds`; calibrated on seed 0."""
    score = scorer if callable(scorer) else None
    assert score is not None
    quiet = simulate(noise, rate, 1, 0, keys=60).history
    by_tier = calibrate(quiet, score(quiet), TARGET)
    policy = Policy()

    def found(case: Simulated) -> list[object]:
        fire = thresholds(case.history, 4.0, by_tier)
        return list(episodes(case.history, score(case.history), fire, policy))

    false, weeks = 0, 0.0
    for seed in seeds:
        case = simulate(noise, rate, 1, seed)
        false, weeks = false + len(found(case)), weeks + case.history.key_weeks
    row = {"false": false / weeks}
    for times in (3, 5):
        hits: list[float] = []
        total = 0
        for seed in seeds:
            case = simulate(noise, rate, times, seed)
            total += len(case.spikes)
            firsts: dict[str, float] = {}
            for episode in found(case):
                begin = case.begin(case.history.keys.index(episode.key))  # type: ignore[attr-defined]
                delay = (episode.fired_at - begin) / timedelta(minutes=1)  # type: ignore[attr-defined]
                if 0 < delay <= 360:
                    firsts.setdefault(episode.key, delay)  # type: ignore[attr-defined]
            hits += firsts.values()
        row[f"x{times}"] = len(hits) / total
        row[f"x{times} min"] = statistics.median(hits) if hits else float("nan")
    return row


def main() -> None:
    """Prints a row per generator and rate, ours and the baseline; with `--json` one JSON value."""
    as_json, found = "--json" in sys.argv, list[dict[str, object]]()
    if not as_json:
        print(f"{'noise':14} {'/h':>4} {'':9} {'false':>6} {'x3':>5} {'min':>4} {'x5':>5} {'min':>4}")
    gains = []
    for noise in NOISES:
        for rate in (20, 100, 500):
            rows = {
                "ours": measure(lambda h: negative_scores(h, RULE), noise, rate, (1, 2, 3)),
                "baseline": measure(baseline_scores, noise, rate, (1, 2, 3)),
            }
            gains.append(rows["ours"]["x3"] - rows["baseline"]["x3"])
            for name, r in rows.items():
                found.append({"noise": noise, "posts_per_h": rate, "rule": name, **r})
                if as_json:
                    continue
                print(
                    f"{noise:14} {rate:4} {name:9} {r['false']:6.3f} {r['x3']:5.2f} {r['x3 min']:4.0f} "
                    f"{r['x5']:5.2f} {r['x5 min']:4.0f}",
                    flush=True,
                )
    if as_json:
        print(json.dumps({"rows": found, "x3_gain_mean": float(np.mean(gains)), "x3_gain_worst": min(gains)}))
        return
    print(f"x3 recall against the baseline: mean {np.mean(gains):+.3f}, worst {min(gains):+.3f}")


if __name__ == "__main__":
    main()
