"""Counts per key and bucket from a CSV: `timestamp,key,posts,negative`, buckets of 5 to 60 minutes.

A bucket without a row counts as no posts; `CountHistory.gaps` reports it. The optional column `score_sum` is the sum of
the posts' negative scores. The optional column `authors` is the number of distinct authors of a bucket's posts, in
which each post without an author counts as one more; an empty value says that nobody counted them. The posts that
these authors do not explain are left out (`author_counts.py`), with the scores that posts of their label usually have.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.files.rows import BadRow
from models.files.tables import Format, rows_of_lines
from pipeline.alerting.counting.author_counts import without_loud_authors
from pipeline.domain.counting import Scope
from pipeline.domain.errors import EXIT_USAGE, Fatal
from pipeline.ingest.columns import read_count

BUCKETS_S = (300, 600, 720, 900, 1200, 1800, 3600)
COLUMNS, AUTHORS = ("timestamp", "key", "posts", "negative"), "authors"
#: An optional column; it has a value in every row or in none.
SCORE_SUM = "score_sum"
_NEGATIVE = re.compile(r"-[\d.,]*[1-9][\d.,]*", re.ASCII)
#: Limits of a file of counts: years, posts of one bucket, and buckets times keys.
FIRST_YEAR, LAST_YEAR, MAX_COUNT, MAX_CELLS = 1990, 2100, 10**12, 50_000_000


class _Row(NamedTuple):
    """The counts of one bucket, and the number of its row in the file; `score_sum` is NaN where the file has none."""

    at: datetime
    posts: int
    negatives: int
    authors: int
    score_sum: float
    number: int


@dataclass(frozen=True)
class CountHistory:
    """int64[n_keys, n_buckets] of posts and negatives; bucket i begins at `start + i * bucket_s`.

    `score_sums`, float64[n_keys, n_buckets], are the sums of the posts' negative scores (None: nobody knows them).
    `scopes` maps the keys of an index to their scopes; it is empty for a file.
    """

    keys: tuple[str, ...]
    start: datetime
    bucket_s: int
    posts: NDArray[np.int64]
    negatives: NDArray[np.int64]
    gaps: tuple[str, ...] = ()
    scopes: Mapping[str, Scope] = field(default_factory=dict)
    score_sums: NDArray[np.float64] | None = None

    def since(self, bucket: int) -> CountHistory:
        """The same without the buckets before `bucket`."""
        sums = None if self.score_sums is None else self.score_sums[:, bucket:]
        return replace(
            self,
            start=self.start + timedelta(seconds=bucket * self.bucket_s),
            posts=self.posts[:, bucket:],
            negatives=self.negatives[:, bucket:],
            score_sums=sums,
        )

    def end_of(self, bucket: int) -> datetime:
        """When bucket number `bucket` ends."""
        return self.start + timedelta(seconds=(bucket + 1) * self.bucket_s)

    @property
    def key_weeks(self) -> float:
        """The number of keys times the weeks that the history covers."""
        return float(self.posts.size * self.bucket_s / (7 * 86_400))


def read_history(lines: Iterable[str], name: str) -> CountHistory:
    """Reads a CSV of counts; `Fatal` names the row (the header is row 1) and the field. Raises `FileError` as well."""
    rows: dict[str, list[_Row]] = {}
    offsets: set[timedelta | None] = set()
    for read in rows_of_lines(lines, name, Format.csv):
        if isinstance(read, BadRow):
            raise _bad(name, read.line, read.reason, "correct the row")
        number, row = read.line, {k.casefold(): str(v) for k, v in read.values.items()}
        if read.surplus:
            raise _bad(name, number, "has more values than columns", "quote commas in the keys")
        if missing := [c for c in COLUMNS if c not in row]:
            raise _bad(name, number, f"has no value for {', '.join(missing)}", f"the columns are {','.join(COLUMNS)}")
        at = _time(row["timestamp"], name, number)
        offsets.add(at.utcoffset())
        if len(offsets) > 1:
            raise _bad(name, number, "mixes time zones", "write all timestamps with one offset, preferably Z")
        at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
        posts, negative = (_count(row[c], c, name, number) for c in ("posts", "negative"))
        if negative > posts:
            raise _bad(name, number, f"negative {negative} is more than posts {posts}", "correct the counts")
        if not row["key"].strip():
            raise _bad(name, number, "has no key", "write the name of the key")
        series = rows.setdefault(row["key"], [])
        if series and at <= series[-1][0]:
            raise _bad(
                name, number, f"timestamp is not later than the previous row of key {row['key']!r}", "sort the file"
            )
        authors = _authors(row, posts, name, number)
        score_sum = float("nan")
        if SCORE_SUM in map(str.casefold, read.columns):
            score_sum = _score_sum(row.get(SCORE_SUM, ""), posts, name, number)
        series.append(_Row(at, posts, negative, authors, score_sum, number))
    if not rows:
        raise _bad(name, 2, "is missing", "the file has no row of counts")
    return _gridded(rows, name)


def _gridded(rows: dict[str, list[_Row]], name: str) -> CountHistory:
    steps = [(b.at - a.at).total_seconds() for series in rows.values() for a, b in pairwise(series)]
    bucket_s = int(min(steps, default=3600))
    first_row = next(iter(rows.values()))[0].number
    if bucket_s not in BUCKETS_S:
        minutes = ", ".join(str(b // 60) for b in BUCKETS_S)
        raise _bad(name, first_row, f"has buckets of {bucket_s} s", f"use buckets of {minutes} minutes")
    start = min(series[0].at for series in rows.values())
    end, last_row = max((series[-1].at, series[-1].number) for series in rows.values())
    if (end - start) / timedelta(seconds=bucket_s) * len(rows) > MAX_CELLS:
        raise _bad(name, last_row, f"timestamp {end.isoformat()} is too far from the first", "correct the timestamps")
    n_buckets = round((end - start).total_seconds() // bucket_s) + 1
    keys = tuple(sorted(rows))
    posts, negatives, authors = np.zeros((3, len(keys), n_buckets), np.int64)
    score_sums = np.zeros(posts.shape)
    gaps = []
    for k, key in enumerate(keys):
        before: datetime | None = None
        for at, *counts, score_sum, number in rows[key]:
            place, rest = divmod((at - start).total_seconds(), bucket_s)
            if rest:
                raise _bad(name, number, f"timestamp is off the grid of {bucket_s} s", "align the buckets")
            if before is not None and (at - before).total_seconds() > bucket_s:
                missing = at - before - timedelta(seconds=bucket_s)
                gaps.append(f"row {number}: key {key!r} has no rows for the {missing} before it")
            posts[k, int(place)], negatives[k, int(place)], authors[k, int(place)] = counts
            score_sums[k, int(place)] = score_sum
            before = at
    kept, kept_negatives = without_loud_authors(posts, negatives, authors, bucket_s)
    sums = None
    if not np.isnan(score_sums).any():
        sums = _without_scores(score_sums, posts, negatives, posts - kept, negatives - kept_negatives)
    posts, negatives = kept, kept_negatives
    return CountHistory(keys, start, bucket_s, posts, negatives, tuple(gaps), score_sums=sums)


def _without_scores(
    score_sums: NDArray[np.float64],
    posts: NDArray[np.int64],
    negatives: NDArray[np.int64],
    left_out: NDArray[np.int64],
    left_out_negatives: NDArray[np.int64],
) -> NDArray[np.float64]:
    """The sums without the posts that are left out: these have the mean score that posts of their label have.

    The two means of a key come from a least-squares fit over its buckets.
    """
    found = score_sums.copy()
    for key in np.flatnonzero(left_out.any(1)):
        labels = np.stack([negatives[key], posts[key] - negatives[key]], 1)
        means = np.clip(np.linalg.lstsq(labels, score_sums[key], rcond=None)[0], 0.0, 1.0)
        out = np.stack([left_out_negatives[key], left_out[key] - left_out_negatives[key]], 1) @ means
        found[key] = np.clip(score_sums[key] - out, 0.0, posts[key] - left_out[key])
    return found


def _time(text: str, name: str, number: int) -> datetime:
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise _bad(name, number, f"timestamp {text!r} is not an ISO 8601 time", "e.g. 2026-11-24T05:00:00Z") from None
    if not FIRST_YEAR <= at.year <= LAST_YEAR:
        raise _bad(name, number, f"timestamp {text!r} is not in {FIRST_YEAR} to {LAST_YEAR}", "correct the timestamp")
    return at


def _count(text: str, column: str, name: str, number: int) -> int:
    if _NEGATIVE.fullmatch(text.strip()):
        raise _bad(name, number, f"{column} {text[:40]} is below 0", "write counts")
    value = read_count(text)
    if value is None or value > MAX_COUNT:
        shown = text if len(text) <= 40 else f"{text[:40]}..."
        raise _bad(name, number, f"{column} {shown!r} is not a whole number from 0 to {MAX_COUNT}", "write counts")
    return value


def _score_sum(text: str, posts: int, name: str, number: int) -> float:
    try:
        value = float("nan") if "_" in text else float(text)
    except ValueError:
        value = float("nan")
    # A sum of probabilities that was rounded may exceed the posts by a little.
    if not 0 <= value <= posts * (1 + 1e-6):
        raise _bad(
            name,
            number,
            f"{SCORE_SUM} {text[:40]!r} is not a number from 0 to {posts}, the posts of the row",
            f"write the sum of the posts' negative scores in every row, or leave out the column {SCORE_SUM}",
        )
    return value


def _authors(row: Mapping[str, str], posts: int, name: str, number: int) -> int:
    """The number of authors; where nobody counted them, each post has one."""
    if not row.get(AUTHORS, "").strip():
        return posts
    authors = _count(row[AUTHORS], AUTHORS, name, number)
    if authors > posts:
        raise _bad(name, number, f"authors {authors} is more than posts {posts}", "correct the counts")
    if posts and not authors:
        raise _bad(name, number, f"authors is 0 with {posts} posts", "count each post without an author as one author")
    return authors


def _bad(name: str, number: int, problem: str, remedy: str) -> Fatal:
    return Fatal(f"{name}: row {number}: {problem}", remedy, EXIT_USAGE)
