"""Counts without the posts of loud authors, as far as the number of distinct authors per bucket shows them. Pure.

Per key, with n posts, k of them negative, and a distinct authors in a bucket:

- c is the usual number of posts per author: the median of n / a over the week before, by the hour, at least 1.
- e = n - c a (at least 0) are the posts that the authors do not explain: one or a few of them wrote these.
- Negatives of e: people can write p a0 c negatives (p: the usual share; a0: the authors at this time of day in the
  week before) and one more for each author who is there in addition. What k exceeds that by, over the last two hours,
  belongs to e.

From the number of authors alone, negative posts of a few accounts among a burst of other people look like a crisis.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
_DAYS = 7


def without_loud_authors(posts: Counts, negatives: Counts, authors: Counts, bucket_s: int) -> tuple[Counts, Counts]:
    """Posts and negatives, int64[n_keys, n_buckets], each bucket by what came before it; 0 <= `authors` <= `posts`."""
    hour = 3600 // bucket_s
    usual, share = _usual(posts, negatives, authors, bucket_s)
    unexplained = np.maximum(0.0, posts - usual * authors)
    recent = 2 * hour
    present, negative, loud = (_last(a, recent) for a in (authors * usual, negatives, unexplained))
    normal = _same_clock(present, 24 * hour)
    possible = share * normal + np.maximum(0.0, present - normal)
    theirs = np.clip((negative - possible) / np.maximum(loud, 1.0), 0.0, 1.0)
    left_out = np.rint(unexplained).astype(np.int64)
    bad = np.minimum(np.rint(theirs * unexplained).astype(np.int64), negatives)
    # A bucket has no more posts of either kind to leave out than it holds.
    bad = np.clip(bad, left_out - (posts - negatives), np.minimum(left_out, negatives))
    return posts - left_out, negatives - bad


def _usual(posts: Counts, negatives: Counts, authors: Counts, bucket_s: int) -> tuple[Floats, Floats]:
    """The usual posts per author and the usual share, which change once a day; the first day measures itself."""
    hour, day = 3600 // bucket_s, 86_400 // bucket_s
    written, wrote = _last(posts, hour), _last(authors, hour)
    ratio = np.where(wrote > 0, written / np.maximum(wrote, 1.0), np.nan)
    per_author, share = np.ones(posts.shape), np.zeros(posts.shape)
    for start in range(0, posts.shape[1], day):
        before, today = slice(max(0, start - _DAYS * day), max(start, day)), slice(start, start + day)
        known = np.isfinite(ratio[:, before]).any(1)
        per_author[known, today] = np.nanmedian(ratio[known, before], axis=1)[:, None]
        share[:, today] = (negatives[:, before].sum(1) / np.maximum(posts[:, before].sum(1), 1))[:, None]
    return np.maximum(1.0, per_author), share


def _same_clock(values: Floats, day: int) -> Floats:
    """The mean at the same time of day over the last week; the first day is its own measure."""
    total, days = np.zeros(values.shape), np.zeros(values.shape[1])
    for back in range(day, _DAYS * day + 1, day):
        total[:, back:] += values[:, : max(0, values.shape[1] - back)]
        days[back:] += 1
    return np.where(days > 0, total / np.maximum(days, 1.0), values)


def _last(values: Counts | Floats, buckets: int) -> Floats:
    """The sum over the last `buckets` buckets, each bucket included."""
    total = np.cumsum(np.pad(values.astype(np.float64), ((0, 0), (1, 0))), axis=1)
    ends = np.arange(1, values.shape[1] + 1)
    return np.asarray(total[:, ends] - total[:, np.maximum(0, ends - buckets)])
