"""The rules of other systems fire where they say, so that a comparison with them is one."""

from __future__ import annotations

import numpy as np

from benchmarks.peerrules import PEERS, binomial, deviations, ears_c2, fixed_share, times_the_mean
from benchmarks.simulator import BUCKET_S, DAY, START
from pipeline.alerting.counting.history import CountHistory

HOUR = 3600 // BUCKET_S
DAYS = 16


def history(negatives: list[int], posts: int = 20) -> CountHistory:
    """One key of so many posts a bucket for sixteen days; `negatives` are those of its last buckets, before that 4."""
    told = np.full((1, DAYS * DAY), 4)
    told[0, -len(negatives) :] = negatives
    return CountHistory(("k",), START, BUCKET_S, np.full(told.shape, posts), told)


def test_each_rule_is_at_its_usual_threshold_where_it_says() -> None:
    usual = {peer.score: peer.usual for peer in PEERS}
    assert fixed_share(history([8] * 2 * HOUR))[0, -1] == usual[fixed_share], "40 %"
    assert times_the_mean(history([6] * HOUR))[0, -1] / usual[times_the_mean] > 0.99, "150 % of the mean hour"
    three_more = history([4] * (HOUR - 1) + [7])
    assert deviations(three_more)[0, -1] / usual[deviations] > 0.99, "a level past has a deviation of one"
    assert ears_c2(three_more)[0, -1] == usual[ears_c2]
    assert 3 < binomial(history([8] * HOUR))[0, -1] < 6, "32 of 80 where 16 are usual"


def test_the_order_of_scores_stays_where_they_are_made_smaller_and_a_quiet_key_scores_nothing() -> None:
    for peer in PEERS:
        eight, fourteen, twenty = (peer.scores(history([k] * peer.width)).score[0, -1] for k in (8, 14, 20))
        assert 2 < eight < fourteen < twenty <= 20, peer.name
        assert peer.scores(history([4])).score.max() <= 2, peer.name
