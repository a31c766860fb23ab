"""`python -m benchmarks.scale`: one evaluation of many keys on one core."""

from __future__ import annotations

import os
import statistics
import time

import numpy as np

from pipeline.alerting.detection.negative_share import Detector, DetectorConfig
from pipeline.alerting.detection.score_model import COUNTED, ScoreModel
from pipeline.alerting.detection.verdicts import KeyCounts

KEYS = 10_000


#: As many data sets as a bundle usually knows.
ESTIMATED = ScoreModel(*(tuple(np.linspace(*ends, 8)) for ends in (
    (0.5, 0.85), (0.1, 0.3), (0.05, 0.08), (0.03, 0.08), (0.6, 0.95), (0.05, 0.3), (0.01, 0.02),
)))  # fmt: skip


def main() -> None:
    """Feeds a week of counts to the rule, then times one bucket for all keys, by label and by score."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rule, rng = DetectorConfig(), np.random.default_rng(1)
    rates = rng.lognormal(0.5, 1.0, KEYS)
    width = rule.span + 40
    posts = rng.poisson(rates[:, None], (KEYS, width))
    negatives = rng.binomial(posts, 0.2)
    sums = posts * 0.2 + negatives * 0.45 + rng.normal(0, 0.2, posts.shape) * np.sqrt(posts)
    calm, numbers = np.zeros(KEYS, np.bool_), np.zeros(KEYS, np.int64)
    for title, model in (("labels", COUNTED), ("scores", ESTIMATED)):
        detector, seconds = Detector(rule, [model]), []
        for end in range(rule.span, width):
            columns = slice(end - rule.span, end)
            counts = KeyCounts(posts[:, columns], negatives[:, columns], sums[:, columns], numbers)
            started = time.perf_counter()
            detector.step(counts, calm)
            seconds.append(time.perf_counter() - started)
        median, worst = statistics.median(seconds), max(seconds)
        print(f"{KEYS} keys, one bucket, {title}: median {median:.3f} s, worst {worst:.3f} s, one core", flush=True)


if __name__ == "__main__":
    main()
