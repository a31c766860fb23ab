"""The rule over history: bad rows are named, spikes found, the calibrated rate held on data not calibrated on."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from pipeline.alerting.counting.history import CountHistory, read_history
from pipeline.alerting.detection.negative_share import DetectorConfig
from pipeline.alerting.evaluation.backtest import calibrate, episodes, negative_scores, thresholds, volume_scores
from pipeline.alerting.evaluation.episodes import Policy
from pipeline.alerting.evaluation.overrides import KeyOverride
from pipeline.cli.backtest.command import backtest
from pipeline.cli.backtest.options import Gaps
from pipeline.domain.errors import EXIT_USAGE, Fatal

HEADER = "timestamp,key,posts,negative"
START = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["2026-01-01T00:00:00Z,a,5,-1"], ["row 2", "negative", "below 0"]),
        (["2026-01-01T00:00:00Z,a,5,6"], ["row 2", "more than posts"]),
        (["2026-01-01T01:00:00Z,a,5,1", "2026-01-01T00:00:00Z,a,5,1"], ["row 3", "sort"]),
        (["2026-01-01T00:00:00Z,a,5,1", "2026-01-01T01:00:00+08:00,a,5,1"], ["row 3", "time zones"]),
        (["2026-01-01T00:00:00Z,a,5,1", "2026-01-01T00:07:00Z,a,5,1"], ["row 2", "buckets of 420 s"]),
        (["2026-01-01T00:00:00Z,a,5,1", "2026-01-01T01:00:00Z,a,5,1", "2026-01-01T00:30:01Z,b,5,1"], ["row 4", "grid"]),
        (["yesterday,a,5,1"], ["row 2", "yesterday"]),
        (["2026-01-01T00:00:00Z, ,5,1"], ["row 2", "has no key"]),
        (["2026-01-01T00:00:00Z,a,five,1"], ["row 2", "posts"]),
        ([], ["no row"]),
    ],
)
def test_a_bad_row_is_named(rows: list[str], words: list[str]) -> None:
    with pytest.raises(Fatal) as caught:
        read_history([HEADER, *rows], "h.csv")
    assert caught.value.exit_code == EXIT_USAGE
    for word in ["h.csv", *words]:
        assert word in str(caught.value)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(Fatal, match="negative"):
        read_history(["timestamp,key,posts", "2026-01-01T00:00:00Z,a,5"], "h.csv")


def test_a_gap_is_an_error_that_names_the_row_unless_it_is_meant(tmp_path: Path) -> None:
    rows = [f"2026-01-01T{h:02}:00:00Z,a,5,1" for h in (0, 1, 4)]
    history = read_history([HEADER, *rows], "h.csv")
    assert history.posts.tolist() == [[5, 5, 0, 0, 5]]
    file = tmp_path / "h.csv"
    file.write_text("\n".join([HEADER, *rows]))
    with pytest.raises(Fatal, match="row 4: key 'a' has no rows for the 2:00:00 before it") as caught:
        backtest(file)
    assert caught.value.exit_code == EXIT_USAGE
    backtest(file, gaps=Gaps.zero, as_json=True)


def simulated(seed: int, *, keys: int = 12, weeks: int = 5, rate: float = 25.0) -> CountHistory:
    """Quiet history in buckets of 15 minutes: daily cycle, overdispersed share of a fifth."""
    rng = np.random.default_rng(seed)
    buckets = weeks * 7 * 96
    cycle = 1 + 0.5 * np.sin(2 * np.pi * np.arange(buckets) / 96)
    posts = rng.poisson(rate * cycle, (keys, buckets))
    share = rng.beta(0.2 * 100, 0.8 * 100, (keys, buckets))
    names = tuple(f"k{i}" for i in range(keys))
    return CountHistory(names, START, 900, posts, rng.binomial(posts, share))


def spiked(history: CountHistory, at: int, times: float) -> CountHistory:
    """The same with `times` the negatives for 6 hours from bucket `at` on, in every key."""
    negatives = history.negatives.copy()
    negatives[:, at : at + 24] = np.minimum(
        history.posts[:, at : at + 24], np.round(negatives[:, at : at + 24] * times)
    )
    return CountHistory(history.keys, history.start, history.bucket_s, history.posts, negatives)


def test_calibrated_on_one_seed_the_rate_holds_on_another_and_spikes_are_found() -> None:
    rule, policy = DetectorConfig.every(900), Policy()
    quiet, other = simulated(1, keys=48), simulated(2, keys=48)
    by_tier = calibrate(quiet, negative_scores(quiet, rule), 0.1)
    fire = thresholds(other, 4.0, by_tier)
    false = episodes(other, negative_scores(other, rule), fire, policy)
    assert len(false) / other.key_weeks <= 0.15
    at = 4 * 7 * 96
    begin = other.start + timedelta(seconds=900 * at)
    spike = spiked(other, at, 3)
    found = [e for e in episodes(spike, negative_scores(spike, rule), fire, policy) if e.fired_at > begin]
    hits = {e.key: e for e in found if e.fired_at <= begin + timedelta(hours=6)}
    assert len(hits) >= 45
    delays = sorted((e.fired_at - begin) / timedelta(minutes=1) for e in hits.values())
    assert delays[len(delays) // 2] <= 60
    during = [e.key for e in found if e.fired_at <= begin + timedelta(hours=12)]
    assert len(during) == len(set(during)), "one episode per spike"
    for e in hits.values():
        assert abs((e.started_at - begin) / timedelta(hours=1)) <= 2


def test_a_spike_does_not_poison_its_own_baseline() -> None:
    history = simulated(3)
    at = 4 * 7 * 96
    twice = spiked(spiked(history, at - 96, 4), at, 4)
    begin = history.start + timedelta(seconds=900 * at)
    found = episodes(twice, negative_scores(twice, DetectorConfig.every(900)), [5.0] * 12, Policy())
    assert len({e.key for e in found if begin < e.fired_at <= begin + timedelta(hours=6)}) == 12


def test_volume_surges_are_the_volume_lanes() -> None:
    history = simulated(4)
    posts, negatives = history.posts.copy(), history.negatives.copy()
    at = 4 * 7 * 96
    posts[:, at : at + 8] *= 6
    negatives[:, at : at + 8] = np.random.default_rng(9).binomial(posts[:, at : at + 8], 0.2)
    surge = CountHistory(history.keys, history.start, history.bucket_s, posts, negatives)
    begin = history.start + timedelta(seconds=900 * at)
    loud = episodes(surge, volume_scores(surge), [6.0] * 12, Policy())
    assert {e.key for e in loud if begin < e.fired_at <= begin + timedelta(hours=2)} == set(history.keys)
    share = episodes(surge, negative_scores(surge, DetectorConfig.every(900)), [5.0] * 12, Policy())
    assert not [e for e in share if begin < e.fired_at <= begin + timedelta(hours=8)]


def test_an_episode_of_a_backtest_is_plain_json() -> None:
    history = spiked(simulated(5, keys=1), 3000, 4)
    found = episodes(history, negative_scores(history, DetectorConfig.every(900)), [5.0], Policy())
    assert json.dumps([e.to_json() for e in found])


def test_the_rules_of_some_keys_count_in_a_backtest_too() -> None:
    history = spiked(simulated(2), 4 * 7 * 96, 4)
    scores = negative_scores(history, DetectorConfig.every(900))
    fire = [4.0] * len(history.keys)
    found = episodes(history, scores, fire, Policy())
    loud = found[0].key
    lift = found[0].peak.observed / found[0].peak.expected
    for rule in (
        KeyOverride((loud,), watch=False),
        KeyOverride((loud,), min_negatives=10_000),
        KeyOverride((loud,), min_lift=lift * 99),
    ):
        assert loud not in {e.key for e in episodes(history, scores, fire, Policy(), [rule])}
    warned = episodes(history, scores, fire, Policy(), [KeyOverride((loud,), at_most_warning=True)])
    assert {e.severity for e in warned if e.key == loud} == {"warning"}
