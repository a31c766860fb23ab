"""`python -m benchmarks.informed`: how many spikes can be found, and how soon, by a test that knows the generator.

The test knows everything that a rule has to learn: the share without its noise, the distribution of the noise, and the
height and the course of a spike. It does not know whether and when a spike begins. Its score is the largest likelihood
ratio of a spike that began in one of the last 24 buckets against no spike (the generalised CUSUM of Lorden 1971); it
integrates out the noise by forward filtering on a grid, and takes the counts of posts as given, as the negative lane
does. The result is not an upper bound: the rule's gates avoid false alerts that this test can avoid only by a higher
threshold.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.stats import beta, norm, t

from benchmarks.detector import measure
from benchmarks.simulator import (
    CONCENTRATION,
    KEEP,
    NOISES,
    SPIKE,
    SWING,
    TAILS,
    Counts,
    Floats,
    Process,
    Simulated,
    profile_of,
)
from pipeline.alerting.evaluation.backtest import ScoreHistory

_GRID = 31
_QUANTILES = (np.arange(_GRID) + 0.5) / _GRID
_MEANS = np.linspace(0.01, 0.95, 400)
TIMES = (3, 5)


class _Noise:
    """The law of one of `NOISES`, on a grid: `moves`, float64[grid, grid], from each state to each in a bucket."""

    def __init__(self, name: str) -> None:
        self._beta = name == "beta-binomial"
        self._table = beta.ppf(_QUANTILES, _MEANS[:, None] * CONCENTRATION, (1 - _MEANS[:, None]) * CONCENTRATION)
        self.moves: Floats = np.full((_GRID, _GRID), 1 / _GRID)
        self._away: Floats = TAILS * t.ppf(_QUANTILES, 3)
        if name == "2-hour swings":
            self._away = np.linspace(-4 * SWING, 4 * SWING, _GRID)
            density = norm.pdf(self._away, KEEP * self._away[:, None], SWING * np.sqrt(1 - KEEP**2))
            self.moves = density / density.sum(1, keepdims=True)

    def shares(self, mean: Floats) -> Floats:
        """float64[rows, grid]: the shares that the noise makes of each mean."""
        if self._beta:
            return np.asarray(self._table[np.searchsorted(_MEANS, mean).clip(0, len(_MEANS) - 1)])
        return np.asarray(1 / (1 + (1 - mean[:, None]) / mean[:, None] * np.exp(-self._away)))


def informed_scores(case: Simulated, process: Process) -> ScoreHistory:
    """log10 of the likelihood ratio, [n_keys, n_buckets]."""
    history, noise = case.history, _Noise(process.noise)
    n_keys = len(history.keys)
    start = np.linalg.matrix_power(noise.moves, 500)[0]
    # First no spike, then a spike of each height in each of its buckets: [1 + heights * SPIKE].
    rise = np.concatenate([[1.0], *(1 + (times - 1) * profile_of(process) for times in TIMES)])
    state = np.tile(start, (n_keys, len(rise), 1))
    ratio = np.full((n_keys, len(rise)), -np.inf)
    ratio[:, 0] = 0.0
    score = np.zeros(history.posts.shape)
    before = np.concatenate([[0], *([0, *range(1 + h * SPIKE, (h + 1) * SPIKE)] for h in range(len(TIMES)))])
    for bucket in range(history.posts.shape[1]):
        # A spike is in its bucket i now where it was in i - 1; in its first where there was none.
        state, ratio = state[:, before] @ noise.moves, ratio[:, before]
        seen = _likelihood(
            history.posts[:, bucket], history.negatives[:, bucket], noise.shares(case.usual[:, bucket]), rise
        )
        state = state * seen
        evidence = state.sum(2)
        state /= evidence[:, :, None]
        ratio = ratio + np.log(evidence / evidence[:, :1])
        score[:, bucket] = np.maximum(ratio[:, 1:].max(1), 0.0) / np.log(10)
    nothing = np.zeros(score.shape)
    return ScoreHistory(
        score,
        np.full(score.shape, SPIKE),
        history.posts,
        history.negatives.astype(np.float64),
        nothing,
        nothing,
        nothing > 0,
    )


def _likelihood(posts: Counts, negatives: Counts, share: Floats, rise: Floats) -> Floats:
    """Of k negatives of n posts, up to a factor per key: float64[n_keys, len(rise), grid]."""
    risen = share[:, None, :] * rise[:, None]
    risen = risen / (1 + risen - share[:, None, :])
    log = negatives[:, None, None] * np.log(risen) + (posts - negatives)[:, None, None] * np.log1p(-risen)
    return np.asarray(np.exp(log - log.max((1, 2), keepdims=True)))


def main() -> None:
    """Prints a row per process; `--seeds 1,2,3` to score on."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.informed")
    parser.add_argument("--seeds", default="1,2,3")
    seeds = tuple(map(int, parser.parse_args().seeds.split(",")))
    processes = [Process(noise, 100, step=step) for step in (False, True) for noise in NOISES]
    print(f"{'process':28} {'/h':>4} {'false':>6} {'x3':>5} {'min':>4} {'x5':>5} {'min':>4}")
    for process in processes:
        r = measure(lambda case: informed_scores(case, process), process, seeds).row  # noqa: B023
        print(
            f"{process.name:28} {process.posts_per_h:4} {r['false']:6.3f} {r['x3']:5.2f} {r['x3 min']:4.0f} "
            f"{r['x5']:5.2f} {r['x5 min']:4.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
