"""`python -m benchmarks.rates`: how far the stated rate of false alerts holds, and what its honesty costs.

A threshold is chosen on 1,200 key-weeks of one seed, once so that the rate itself meets the target (`by rate`), and
once so that the upper end of its interval does (`by upper end`, which is what the rule does). The realised rate is that
of 600 key-weeks of four other seeds; the recall is that of 90 spikes of three times the negatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np

from benchmarks.detector import FURTHER, PUBLISHED, RULE
from benchmarks.simulator import Process, Simulated, joined, simulate
from pipeline.alerting.counting.history import CountHistory
from pipeline.alerting.detection.episode_rate import rate_interval
from pipeline.alerting.detection.thresholds import Threshold
from pipeline.alerting.evaluation.backtest import ScoreHistory, calibrate, episodes, negative_scores
from pipeline.alerting.evaluation.episode_peaks import EpisodePeaks
from pipeline.alerting.evaluation.episodes import Policy

TARGET, QUIET_KEYS, SPIKE = 0.1, 240, timedelta(hours=6)
GRID = np.arange(20, 120) / 10


def _some(case: Simulated, scores: ScoreHistory, keys: slice) -> tuple[CountHistory, ScoreHistory]:
    history = case.history
    part = replace(
        history, keys=history.keys[keys], posts=history.posts[keys], negatives=history.negatives[keys], score_sums=None
    )
    found = ScoreHistory(
        score=scores.score[keys],
        window=scores.window[keys],
        posts=scores.posts[keys],
        observed=scores.observed[keys],
        expected=scores.expected[keys],
        baseline=scores.baseline[keys],
        cold=scores.cold[keys],
    )
    return part, found


def _by_rate(history: CountHistory, scores: ScoreHistory) -> Threshold:
    warm = np.where(scores.cold, 0.0, scores.score)
    peaks = EpisodePeaks.of(warm, Policy(), timedelta(seconds=history.bucket_s))
    found = (peaks.threshold(float(fire), history.key_weeks) for fire in GRID)
    return next(t for t in found if t.per_key_week <= TARGET)


def measure(process: Process) -> dict[str, tuple[Threshold, float, float]]:
    """For each way to choose the threshold: the threshold, the realised rate per key-week and the recall."""
    quiet = simulate(process, 1, 0, keys=QUIET_KEYS)
    others = joined([simulate(process, 1, seed) for seed in (1, 2, 3, 4)])
    spiked = joined([simulate(process, 3, seed) for seed in (1, 2, 3)])
    case = joined([quiet, others, spiked])
    scores = negative_scores(case.history, RULE)
    ends = np.cumsum([0, *(len(part.history.keys) for part in (quiet, others, spiked))]).tolist()
    parts = [_some(case, scores, slice(*ends[i : i + 2])) for i in range(3)]
    upper = max(calibrate(*parts[0], TARGET).values(), key=lambda t: t.fire)
    found = {}
    for way, threshold in (("by rate", _by_rate(*parts[0])), ("by upper end", upper)):
        realised, recalled = (
            episodes(history, found_scores, [threshold.fire] * len(history.keys), Policy())
            for history, found_scores in parts[1:]
        )
        keys = {key: i for i, key in enumerate(parts[2][0].keys)}
        told = {e.key for e in recalled if timedelta() < e.fired_at - spiked.begin(keys[e.key]) <= SPIKE}
        found[way] = threshold, len(realised) / parts[1][0].key_weeks, len(told) / len(keys)
    return found


def report(processes: Sequence[Process]) -> None:
    """Prints one line per process and way."""
    print(f"{'process':28} {'/h':>4} {'threshold':12} {'fire':>5} {'stated (80 %)':>20} {'realised':>8} {'x3':>5}")
    for process in processes:
        for way, (threshold, realised, recall) in measure(process).items():
            low, high = threshold.low, threshold.high
            if low is None or high is None:
                low, high = rate_interval(round(threshold.per_key_week * threshold.key_weeks), threshold.key_weeks)
            stated = f"{threshold.per_key_week:.3f} ({low:.3f}-{high:.3f})"
            print(
                f"{process.name:28} {process.posts_per_h:4} {way:12} {threshold.fire:5.1f} {stated:>20} "
                f"{realised:8.3f} {recall:5.2f}",
                flush=True,
            )


if __name__ == "__main__":
    report([*PUBLISHED, *FURTHER])
