"""How unlikely a count is, whether it exceeds the baseline enough, and where the rise began. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaln, gammaln

Floats = NDArray[np.float64]
#: The sum ends this many standard deviations above both k and the mean: what follows is below 1e-9 of it.
_REACH = 12.0
#: Rows whose terms are summed at once, to bound the memory.
_ROWS = 256


def log10_tail(k: ArrayLike, n: ArrayLike, alpha: Floats, beta: Floats) -> Floats:
    """log10 P(X >= k) of X ~ BetaBinomial(n, alpha, beta), float64[rows]; 0 <= k <= n, in log space.

    The term at x = k comes from the log-gamma function, the terms after it from the ratio of neighbours. Effective
    counts need not be whole: between two whole k the logarithm is linear, and n enters through the gamma function.

    >>> round(float(log10_tail(np.array([1]), np.array([1]), np.array([1.0]), np.array([3.0]))[0]), 6)
    -0.60206
    """
    k, n = np.asarray(k, np.float64), np.asarray(n, np.float64)
    whole = np.floor(k)
    found = np.empty(len(k))
    mean = alpha / (alpha + beta)
    sigma = np.sqrt(n * mean * (1 - mean) * (alpha + beta + n) / (alpha + beta + 1))
    reach = np.ceil(np.maximum(0.0, n * mean - k) + _REACH * sigma + _REACH)
    reach = np.minimum(np.ceil(n - whole), reach).astype(np.int64)
    for part in np.array_split(np.argsort(reach), -(-len(k) // _ROWS)) if len(k) else ():
        found[part] = _log_tail(
            whole[part], k[part] - whole[part], n[part], alpha[part], beta[part], int(reach[part].max())
        )
    capped: Floats = np.minimum(found / np.log(10), 0.0)
    return capped


def _log_tail(k: Floats, above: Floats, n: Floats, alpha: Floats, beta: Floats, reach: int) -> Floats:
    """The logarithm of the tail at k + `above`, where k is whole and `above` is in [0, 1)."""
    first = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1) + betaln(k + alpha, n - k + beta) - betaln(alpha, beta)
    if not reach:
        return np.asarray(first)
    x = k[:, None] + np.arange(reach)
    left = np.maximum(n[:, None] - x, 0)
    with np.errstate(divide="ignore"):
        ratio = left / (x + 1) * (x + alpha[:, None]) / (np.maximum(left - 1, 0) + beta[:, None])
        steps = np.cumsum(np.log(ratio), axis=1)
    after = np.logaddexp.reduce(steps, axis=1)
    at_k = np.logaddexp(0.0, after)
    between = np.zeros(len(k))
    np.multiply(above, after - at_k, out=between, where=above > 0)
    return np.asarray(first + at_k + between)


def exceeds_lift(k: ArrayLike, n: ArrayLike, share: ArrayLike, lift: float) -> NDArray[np.bool_]:
    """Whether k negatives of n posts reach `lift` (>= 1) times the number that `share` makes expected.

    It is also enough that the other posts fall to 1/`lift` of their expected number. This second limit is for keys
    that are mostly negative: a share of two thirds can never grow by half (docs/adr/0012). Below a share of
    1 / (1 + `lift`) the first limit decides.

    >>> exceeds_lift(np.array([33, 48, 44]), np.array([100, 60, 60]), np.array([0.2, 0.7, 0.7]), 1.5).tolist()
    [True, True, False]
    """
    k, n, share = np.asarray(k), np.asarray(n), np.asarray(share)
    expected = n * share
    risen: NDArray[np.bool_] = (k >= lift * expected) | (lift * (n - k) <= n - expected)
    return risen


def onset(posts: NDArray[np.int64], negatives: ArrayLike, baseline: float) -> int:
    """Index of the bucket in which a rise most likely began: the suffix with the highest log-likelihood ratio.

    `posts` and `negatives` have one number per bucket, the oldest first; `baseline` is in (0, 1). Estimated negatives
    may lie outside of [0, posts]. The index is 0 where no suffix lies above the baseline. For each suffix n are its
    posts and k its negatives.

    >>> onset(np.array([5, 5, 5, 5]), np.array([1, 1, 5, 4]), 0.2)
    2
    """
    n = np.cumsum(posts[::-1])[::-1]
    k = np.clip(np.cumsum(np.asarray(negatives)[::-1])[::-1], 0, n)
    share = np.clip(k / np.maximum(n, 1), 1e-9, 1 - 1e-9)
    ratio = k * np.log(share / baseline) + (n - k) * np.log((1 - share) / (1 - baseline))
    return int(np.argmax(np.where(share > baseline, ratio, 0.0)))
