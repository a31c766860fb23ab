"""`python -m benchmarks.scale`: one evaluation of many keys on one core."""

from __future__ import annotations

import os
import statistics
import time

import numpy as np

from pipeline.alerting.detection.negative_share import Detector, DetectorConfig

KEYS = 10_000


def main() -> None:
    """Feeds a week of counts to the rule, then times one bucket for all keys."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rule, rng = DetectorConfig(), np.random.default_rng(1)
    detector, rates = Detector(rule), rng.lognormal(0.5, 1.0, KEYS)
    seconds = []
    width = rule.span + 40
    posts = rng.poisson(rates[:, None], (KEYS, width))
    negatives = rng.binomial(posts, 0.2)
    calm = np.zeros(KEYS, np.bool_)
    for end in range(rule.span, width):
        columns = slice(end - rule.span, end)
        started = time.perf_counter()
        detector.step(posts[:, columns], negatives[:, columns], calm)
        seconds.append(time.perf_counter() - started)
    print(f"{KEYS} keys, one bucket: median {statistics.median(seconds):.3f} s, worst {max(seconds):.3f} s, one core")


if __name__ == "__main__":
    main()
