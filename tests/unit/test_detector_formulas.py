"""The vectorised rules give what their formulas say: the same, written out key by key and window by window."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import betabinom, nbinom

from pipeline.alerting.detection.negative_share import Detector, DetectorConfig
from pipeline.alerting.detection.tail import log10_tail, onset
from pipeline.alerting.detection.thresholds import Calibration, Threshold, tier_of
from pipeline.alerting.detection.volume import VolumeDetector
from tests.builders import START, as_dict, counted

WINDOWS, RECENT, GUARD, WEEK = (1, 2, 3, 4, 6), 2, 2, 168
SPAN = 6 + RECENT + GUARD + 6
HOURLY = DetectorConfig.every(3600)


def clip(value: float, least: float, most: float) -> float:
    return min(max(value, least), most)


class Ratio:
    """One moment per key: a decayed sum over a decayed sum, shrunk to all keys and at first to what is typical."""

    def __init__(self, keys: int, typical: float) -> None:
        self.typical = typical
        self.above, self.below, self.steps = ([0.0] * keys for _ in range(3))

    def add(self, key: int, above: float, below: float, *, learns: bool) -> None:
        decay = 0.5 ** (1 / (2 * WEEK))
        self.above[key] = self.above[key] * decay + (above if learns else 0)
        self.below[key] = self.below[key] * decay + (below if learns else 0)
        self.steps[key] = self.steps[key] * decay + (learns and below > 0)

    def value(self, key: int) -> float:
        total = sum(self.below)
        if not total:
            return self.typical
        prior = WEEK // 7 * total / sum(self.steps)
        pooled = (sum(self.above) + prior * self.typical) / (total + prior)
        weight = (total + prior) / len(self.below)
        return (self.above[key] + weight * pooled) / (self.below[key] + weight)


class Share:
    """The negative-share rule as its module describes it."""

    def __init__(self, keys: int) -> None:
        self.keys = range(keys)
        self.n, self.k, self.age = [0.0] * keys, [0.0] * keys, [0] * keys
        self.rho = [Ratio(keys, 0.01) for _ in (*WINDOWS, RECENT)]
        self.memory = [Ratio(keys, 0.0) for _ in WINDOWS]

    def baseline(self, key: int) -> float:
        everywhere = sum(self.k) / sum(self.n) if sum(self.n) else 0.2
        return clip((self.k[key] + 20 * everywhere) / (self.n[key] + 20), 0.005, 0.95)

    def spread(self, row: int, key: int) -> float:
        return clip(self.rho[row].value(key), 0.001, 0.5)

    def residual(self, n: int, k: int, share: float, rho: float) -> tuple[float, bool]:
        sigma = math.sqrt(n * share * (1 - share) * (1 + max(n - 1, 0) * max(rho, 0.002)))
        return clip(k - n * share, -3 * sigma, 3 * sigma), abs(k - n * share) <= 4 * sigma

    def learn(self, posts: np.ndarray, negatives: np.ndarray, excluded: np.ndarray) -> None:
        shares = [self.baseline(key) for key in self.keys]
        rhos = [[self.spread(row, key) for key in self.keys] for row in range(len(self.rho))]
        for key, share in enumerate(shares):
            p, q = posts[key], negatives[key]
            for row, window in enumerate((*WINDOWS, RECENT)):
                n, k = int(p[-window:].sum()), int(q[-window:].sum())
                variance = n * share * (1 - share)
                r, near = self.residual(n, k, share, rhos[row][key])
                keep = not excluded[key] and near
                self.rho[row].add(key, r * r - variance, max(n - 1, 0) * variance, learns=keep)
                if row < len(WINDOWS):
                    n, k = (int(a[-window - RECENT : -window].sum()) for a in (p, q))
                    before, near = self.residual(n, k, share, rhos[-1][key])
                    self.memory[row].add(key, r * before, n * variance, learns=keep and near)

    def step(self, posts: np.ndarray, negatives: np.ndarray, excluded: np.ndarray) -> None:
        enters = posts.shape[1] - 6 - GUARD
        self.learn(posts[:, :enters], negatives[:, :enters], excluded)
        decay = 0.5 ** (1 / WEEK)
        for key in self.keys:
            n, k = int(posts[key, enters - 1]), int(negatives[key, enters - 1])
            self.n[key] = self.n[key] * decay + (0 if excluded[key] else n)
            self.k[key] = self.k[key] * decay + (0 if excluded[key] else k)
            self.age[key] += self.age[key] > 0 or n > 0

    def cold(self, key: int) -> bool:
        return self.age[key] < WEEK - 6 - GUARD

    def window(self, row: int, key: int, posts: np.ndarray, negatives: np.ndarray) -> tuple[int, int, float, float]:
        """Posts and negatives of a window, the share and the rho to expect of it."""
        window, p0 = WINDOWS[row], self.baseline(key)
        n, k = (int(a[key, -window - RECENT : -window].sum()) for a in (posts, negatives))
        rho_w, rho_r = self.spread(row, key), self.spread(len(WINDOWS), key)
        residual, _ = self.residual(n, k, p0, rho_r)
        memory = clip(self.memory[row].value(key), 0, 0.95 * math.sqrt(rho_w * rho_r))
        gain = memory / (rho_r + 1 / n) if n else 0.0
        share = clip(p0 + gain * residual / n if n else p0, 0.005, 0.95)
        rho = max(rho_w - memory * gain, 0.001)
        if self.cold(key):
            rho = max(rho, 0.03 if max(self.age) >= 24 else 0.1)
        return int(posts[key, -window:].sum()), int(negatives[key, -window:].sum()), share, rho

    def score(self, row: int, key: int, posts: np.ndarray, negatives: np.ndarray) -> float:
        n, k, share, rho = self.window(row, key, posts, negatives)
        p0 = self.baseline(key)
        risen = k >= 1.5 * n * p0 or 1.5 * (n - k) <= n - n * p0
        if k < 10 or not risen or (self.cold(key) and (n < 50 or k < 0.4 * n)):
            return 0.0
        return max(0.0, tail(n, k, share, rho) - 0.5 * math.log10(6 / WINDOWS[row]))


def tail(n: int, k: int, share: float, rho: float) -> float:
    m = 1 / rho - 1
    terms = betabinom.logpmf(np.arange(k, n + 1), n, share * m, (1 - share) * m)
    return float(max(0.0, -logsumexp(terms) / math.log(10)))


def weeks() -> tuple[np.ndarray, np.ndarray]:
    """Four keys: one that swings for hours, one rare, one mostly negative, one that comes later; spikes in each."""
    rng = np.random.default_rng(3)
    hours = 12 * 24
    wave = 0.2 + 0.1 * np.sin(np.arange(hours) / 3)
    share = np.stack([wave, np.full(hours, 0.1), np.full(hours, 0.7), np.full(hours, 0.3)])
    for at in (12, 60, 170, 250):
        share[:, at : at + 5] = (0.6, 0.9, 0.96, 0.8)[(12, 60, 170, 250).index(at)]
    posts = rng.poisson(np.array([40, 8, 25, 30])[:, None] * np.ones(hours))
    posts[3, :100] = 0
    return posts, rng.binomial(posts, share)


def spans(posts: np.ndarray, negatives: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    padded = [np.pad(a, ((0, 0), (SPAN, 0))) for a in (posts, negatives)]
    for end in range(1, posts.shape[1] + 1):
        yield tuple(a[:, end : end + SPAN] for a in padded)  # type: ignore[misc]


def test_the_share_rule_gives_what_its_formulas_say() -> None:
    detector, formulas = Detector(HOURLY), Share(4)
    fired = 0
    for hour, (p, q) in enumerate(spans(*weeks())):
        excluded = np.array([False, False, 185 <= hour < 195, False])
        verdicts = detector.step(counted(p, q), excluded)
        formulas.step(p, q, excluded)
        for key in range(4):
            scores = [formulas.score(row, key, p, q) for row in range(len(WINDOWS))]
            best = int(np.argmax(scores))
            n, k, share, _ = formulas.window(best, key, p, q)
            baseline = formulas.baseline(key)
            assert verdicts.score[key] == pytest.approx(max(scores), abs=1e-4)
            assert verdicts.baseline[key] == pytest.approx(baseline)
            assert verdicts.cold[key] == formulas.cold(key)
            assert (verdicts.window[key], verdicts.posts[key], verdicts.observed[key]) == (WINDOWS[best], n, k)
            assert verdicts.expected[key] == pytest.approx((share if max(scores) else baseline) * n)
            fired += max(scores) > 4
    assert fired > 40


def test_each_window_of_a_key_says_its_numbers_and_which_gates_are_shut() -> None:
    detector, formulas = Detector(HOURLY), Share(4)
    shut = {"few": 0, "flat": 0, "cold": 0}
    for hour, (p, q) in enumerate(spans(*weeks())):
        detector.step(counted(p, q), np.zeros(4, np.bool_))
        formulas.step(p, q, np.zeros(4, np.bool_))
        for key in range(4 if hour % 7 == 0 else 0):
            for row, found in enumerate(detector.windows(key, counted(p, q))):
                n, k, share, rho = formulas.window(row, key, p, q)
                p0, handicap = formulas.baseline(key), 0.5 * math.log10(6 / WINDOWS[row])
                assert (found.window, found.posts, found.negatives) == (WINDOWS[row], n, k)
                assert found.expected == pytest.approx(share * n)
                assert found.rho == pytest.approx(rho)
                assert found.score == pytest.approx(max(0.0, tail(n, k, share, rho) - handicap) if k else 0, abs=1e-4)
                assert found.few == (k < 10)
                assert found.flat == (k < 1.5 * n * p0 and 1.5 * (n - k) > n - n * p0)
                assert found.cold == (formulas.cold(key) and (n < 50 or k < 0.4 * n))
                assert detector.score(key, WINDOWS[row], n, k, 0.0) == pytest.approx(
                    0.0 if found.few or found.flat else found.score
                )
                for name in shut:
                    shut[name] += getattr(found, name)
    assert all(shut.values())


def test_the_volume_of_a_key_is_its_mean_over_what_the_baseline_remembers() -> None:
    detector = Detector(HOURLY)
    posts = np.full((2, 400), 7)
    posts[1, :300] = 0
    for hour, (p, q) in enumerate(spans(posts, posts)):
        detector.step(counted(p, q), np.zeros(2, np.bool_))
        if hour < 8:
            assert detector.volume(0) == 0
    assert detector.volume(0) == pytest.approx(7)
    assert detector.volume(1) == pytest.approx(7)


class Volume:
    """The volume rule for one key, from its posts by the hour."""

    def __init__(self, posts: np.ndarray) -> None:
        self.posts = posts
        self.first = int(np.flatnonzero(posts)[0]) if posts.any() else len(posts)

    def at(self, now: int) -> tuple[float, float, float, int]:
        """Score, mean, size r and how many totals of the past there are."""
        past = [
            int(self.posts[then])
            for day in range(1, 15)
            for shift in (-2, -1, 0, 1, 2)
            if (then := now - 24 * day - shift) >= self.first
        ]
        n, count = int(self.posts[now]), max(len(past), 2)
        mean = max(sum(past) / count, 0.5)
        variance = (sum(x * x for x in past) - count * (sum(past) / count) ** 2) / (count - 1)
        variance = max(variance, 1.05 * mean)
        size = mean * mean / (variance - mean)
        score = 0.0
        if len(past) >= 3 * 5 and n >= 10 and n >= 2 * mean:
            score = -math.log10(max(nbinom.sf(n - 1, size, size / (size + mean)), 1e-300))
        return score, mean, size, len(past)


def test_the_volume_rule_gives_what_its_formulas_say() -> None:
    rng = np.random.default_rng(9)
    hours = 18 * 24
    wave = 1 + 0.8 * np.sin(np.arange(hours) * 2 * np.pi / 24)
    posts = rng.poisson(np.array([20, 1, 6, 3])[:, None] * wave)
    posts[2, :50] = 0
    posts[3] = 0
    for at in (71, 90, 125, 230, 400):
        posts[:3, at] += (10, 12, 30)
    posts[0, 420] = 5000
    detector, keys = VolumeDetector(3600), [Volume(row) for row in posts]
    fired = 0
    for now in range(hours):
        verdicts = detector.step(posts[:, now : now + 1])
        for row, key in enumerate(keys):
            score, mean, _, days = key.at(now)
            assert verdicts.score[row] == pytest.approx(score, rel=1e-6, abs=1e-6)
            assert verdicts.expected[row] == pytest.approx(mean)
            assert (verdicts.posts[row], verdicts.observed[row]) == (posts[row, now], posts[row, now])
            assert (verdicts.window[row], verdicts.baseline[row]) == (1, 0)
            assert verdicts.cold[row] == (days < 7 * 5)
            assert detector.score(row, int(posts[row, now])) == pytest.approx(score, rel=1e-6, abs=1e-6)
            fired += score > 3
    assert fired > 5


def test_the_volume_rule_counts_the_hour_that_ends_now_in_buckets_of_five_minutes() -> None:
    """The totals at 30 and 60 minutes to either side are sums of twelve buckets each."""
    rng = np.random.default_rng(2)
    buckets = rng.poisson(3, (1, 6 * 288))
    buckets[0, -12:] += 4
    detector = VolumeDetector()
    padded = np.pad(buckets, ((0, 0), (11, 0)))
    for now in range(buckets.shape[1] - 1):
        detector.learn(padded[:, now : now + 12])
    verdicts = detector.step(padded[:, -12:])
    now, hour = buckets.shape[1] - 1, np.convolve(buckets[0], np.ones(12, int))[: buckets.shape[1]]
    past = [int(hour[now - 288 * d - s]) for d in range(1, 15) for s in (-12, -6, 0, 6, 12) if now - 288 * d - s >= 11]
    assert verdicts.posts[0] == hour[now]
    assert verdicts.expected[0] == pytest.approx(sum(past) / len(past))
    assert verdicts.window[0] == 12
    assert verdicts.score[0] > 3


def test_the_tail_of_many_rows_is_that_of_each() -> None:
    rng = np.random.default_rng(4)
    n = rng.integers(1, 400, 700)
    k = rng.integers(0, n + 1)
    share, rho = rng.uniform(0.01, 0.9, 700), rng.uniform(0.002, 0.4, 700)
    m = 1 / rho - 1
    found = log10_tail(k, n, share * m, (1 - share) * m)
    expected = [-tail(*row) for row in zip(n, k, share, rho, strict=True)]
    assert found == pytest.approx(np.array(expected), abs=1e-6)
    assert log10_tail(*np.empty((4, 0), np.int64)).shape == (0,)


def test_a_rise_began_with_the_suffix_that_is_least_like_the_baseline() -> None:
    rng = np.random.default_rng(8)
    found = set()
    for _ in range(200):
        posts = rng.poisson(4, 12)
        negatives = rng.binomial(posts, np.where(np.arange(12) < rng.integers(0, 12), 0.2, 0.6))
        ratios = []
        for start in range(12):
            n, k = int(posts[start:].sum()), int(negatives[start:].sum())
            share = min(max(k / max(n, 1), 1e-9), 1 - 1e-9)
            gain = k * math.log(share / 0.25) + (n - k) * math.log((1 - share) / 0.75)
            ratios.append(gain if share > 0.25 else 0.0)
        found.add(onset(posts, negatives, 0.25))
        assert onset(posts, negatives, 0.25) == int(np.argmax(ratios))
    assert len(found) > 5
    assert onset(np.zeros(3, np.int64), np.zeros(3, np.int64), 0.2) == 0
    assert onset(np.array([5, 5, 5]), np.array([0, 1, 5]), 0.9) == 2, "all of the last posts are negative"


@pytest.mark.parametrize(
    ("posts_per_h", "tier"),
    [
        (0, "under 10/h"), (9.99, "under 10/h"), (10, "10 to 50/h"), (49.9, "10 to 50/h"), (50, "50 to 200/h"),
        (199.9, "50 to 200/h"), (200, "over 200/h"), (1e9, "over 200/h"),
    ],
)  # fmt: skip
def test_a_key_belongs_to_the_tier_of_its_posts_an_hour(posts_per_h: float, tier: str) -> None:
    assert tier_of(posts_per_h) == tier


def test_a_calibration_survives_its_json_and_fields_of_a_newer_release() -> None:
    found = Calibration(START, 0.1, {"under 10/h": Threshold(4.5, 0.08, 120.0)})
    written = as_dict(found.to_json())
    assert written == {
        "at": START.isoformat(),
        "target": 0.1,
        "tiers": {"under 10/h": {"fire": 4.5, "per_key_week": 0.08, "key_weeks": 120.0}},
    }
    written["tiers"]["under 10/h"]["new"] = 1
    assert Calibration.from_json(written) == found


def test_the_constants_of_the_rule_are_those_of_its_documents() -> None:
    """The figures of the back-tests hold for these alone."""
    rule = DetectorConfig()
    assert rule.windows == (12, 24, 36, 48, 72)
    assert (rule.guard, rule.recent, rule.half_life, rule.warm_after) == (24, 24, 7 * 288, 7 * 288)
    assert (rule.prior_weight, rule.min_negatives, rule.min_lift) == (20, 10, 1.5)
    assert (rule.cold_share, rule.cold_posts) == (0.4, 50)
    assert rule.span == 72 + 24 + 24 + 72
