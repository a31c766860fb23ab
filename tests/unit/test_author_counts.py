"""What the number of distinct authors shows of floods and rants."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.alerting.counting.author_counts import without_loud_authors
from pipeline.alerting.counting.history import CountHistory, read_history
from pipeline.alerting.detection.negative_share import DetectorConfig
from pipeline.alerting.evaluation.backtest import episodes, negative_scores
from pipeline.alerting.evaluation.episodes import Policy
from pipeline.domain.errors import Fatal
from tests.builders import START

Counts = NDArray[np.int64]
HOUR, KEYS, DAYS = 3600, 12, 17
#: The hours of the crisis and of the attack.
ODD = slice(16 * 24 + 9, 16 * 24 + 15)


def people(seed: int, *, crisis: bool = False, burst: bool = False) -> tuple[Counts, Counts]:
    """A hundred posts an hour, a fifth of them negative, by day more than by night."""
    rng = np.random.default_rng(seed)
    rate = 100 * (1 + 0.5 * np.sin(2 * np.pi * (np.arange(DAYS * 24) / 24 - 0.3)))
    rate[ODD] *= 3 if burst else 1
    posts = rng.poisson(rate, (KEYS, DAYS * 24))
    negatives = rng.binomial(posts, rng.beta(10, 40, posts.shape))
    if crisis:
        more = rng.poisson(2 * 0.2 * rate[ODD], (KEYS, 6))
        posts[:, ODD] += more
        negatives[:, ODD] += more
    return posts, negatives


def alerting_keys(posts: Counts, negatives: Counts, authors: Counts) -> int:
    """How many keys alert during the odd hours."""
    found = without_loud_authors(posts, negatives, authors, HOUR)
    history = CountHistory(tuple(f"k{i}" for i in range(KEYS)), START, HOUR, *found)
    scores = negative_scores(history, DetectorConfig.every(HOUR))
    alerts = episodes(history, scores, [4.5] * KEYS, Policy())
    first, last = (history.end_of(hour) for hour in (ODD.start - 1, ODD.stop))
    return len({episode.key for episode in alerts if first < episode.fired_at <= last})


@pytest.mark.parametrize("volume", [0.25, 1.0, 3.0])
def test_one_account_hides_no_crisis_and_makes_none(volume: float) -> None:
    posts, negatives = people(1, crisis=True)
    loud = np.zeros_like(posts)
    loud[:, ODD] = round(volume * 100)
    authors = posts + (loud > 0)
    assert alerting_keys(posts + loud, negatives, authors) == KEYS
    posts, negatives = people(2)
    authors = posts + (loud > 0)
    assert alerting_keys(posts + loud, negatives + loud, authors) == 0


def test_counts_of_posts_alone_are_fooled_by_the_same() -> None:
    """So the test above can fail."""
    posts, negatives = people(1, crisis=True)
    loud = np.zeros_like(posts)
    loud[:, ODD] = 300
    assert alerting_keys(posts + loud, negatives, posts + loud) == 0
    posts, negatives = people(2)
    assert alerting_keys(posts + loud, negatives + loud, posts + loud) == KEYS


def test_a_neutral_burst_of_people_stays_quiet() -> None:
    posts, negatives = people(3, burst=True)
    assert alerting_keys(posts, negatives, posts) == 0


_HOURS = st.lists(st.tuples(*[st.integers(0, 30)] * 3), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(_HOURS, st.sampled_from([300, 900, 3600]))
def test_counts_stay_sound(hours: list[tuple[int, int, int]], bucket_s: int) -> None:
    posts = np.array([[sum(sorted(hour)[1:]) for hour in hours]])
    negatives = np.array([[sorted(hour)[1] for hour in hours]])
    authors = np.minimum(posts, np.array([[max(1, sorted(hour)[0]) for hour in hours]]))
    n, k = without_loud_authors(posts, negatives, authors, bucket_s)
    assert ((k >= 0) & (k <= n) & (n <= posts) & (k <= negatives)).all()
    everybody = without_loud_authors(posts, negatives, posts, bucket_s)
    assert (everybody[0] == posts).all()
    assert (everybody[1] == negatives).all()


@settings(max_examples=30, deadline=None)
@given(_HOURS)
def test_later_buckets_change_nothing(hours: list[tuple[int, int, int]]) -> None:
    posts = np.array([[sum(hour) for hour in hours] * 2])
    negatives = np.array([[hour[0] for hour in hours] * 2])
    authors = np.minimum(posts, 1 + posts // 2)
    whole = without_loud_authors(posts, negatives, authors, HOUR)
    day = posts.shape[1] // 24 * 24  # the first day measures itself
    part = without_loud_authors(posts[:, :day], negatives[:, :day], authors[:, :day], HOUR)
    for one, other in zip(whole, part, strict=True):
        assert (one[:, :day] == other).all()


HEADER = "timestamp,key,posts,negative,authors"


def test_a_file_may_say_how_many_authors_wrote() -> None:
    rows = [f"2026-01-{1 + h // 24:02}T{h % 24:02}:00:00Z,a,{60 if h == 40 else 10},2,{'' if h == 3 else 10}"
            for h in range(48)]  # fmt: skip
    history = read_history([HEADER, *rows], "h.csv")
    assert history.posts.tolist() == [[10] * 48]
    assert history.negatives[0, :40].tolist() == [2] * 40


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("2026-01-01T00:00:00Z,a,5,1,6", "authors 6 is more than posts 5"),
        ("2026-01-01T00:00:00Z,a,5,1,0", "authors is 0 with 5 posts"),
        ("2026-01-01T00:00:00Z,a,5,1,-2", "authors -2 is below 0"),
        ("2026-01-01T00:00:00Z,a,5,1,many", "authors 'many' is not a whole number"),
    ],
)
def test_a_bad_number_of_authors_is_named(row: str, words: str) -> None:
    with pytest.raises(Fatal, match=words) as caught:
        read_history([HEADER, row], "h.csv")
    assert "row 2" in str(caught.value)
