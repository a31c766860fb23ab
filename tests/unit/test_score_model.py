"""Estimated negatives: what a bundle's score groups make of sums of scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.prevalence import ScoreGroup
from models.score_groups import score_groups
from pipeline.alerting.detection.dispersion import Dispersion, Prior
from pipeline.alerting.detection.negative_share import Detector, DetectorConfig
from pipeline.alerting.detection.score_model import COUNTED, Evidence, Reading, ScoreModel
from pipeline.alerting.detection.tail import log10_tail
from pipeline.alerting.detection.verdicts import KeyCounts, Verdicts
from pipeline.alerting.evaluation.score_models import ScoreModels, score_models
from pipeline.domain.counting import NegativeDefinition, Scope

CLASSES = ("negative", "neutral", "positive")
HOURLY = DetectorConfig.every(3600)
#: A judge who never errs, one who is often wrong, and one who hardly ever is.
PERFECT = ScoreModel((1.0,), (0.0,), (0.0,), (0.0,), (1.0,), (0.0,), (0.0,))
TWEETS = ScoreModel((0.68,), (0.27,), (0.05,), (0.06,), (0.84,), (0.27,), (0.01,))
MIXED = ScoreModel((0.68, 0.85), (0.27, 0.1), (0.05, 0.04), (0.06, 0.03), (0.84, 0.93), (0.27, 0.06), (0.01, 0.01))


def evidence(mean: float, called: float = 0.3, phi: float = 1.0, log_phi_sd: float = np.inf) -> Evidence:
    return Evidence(*(np.array([value]) for value in (mean, called, phi, log_phi_sd)))


def groups(source: str, seed: int, strength: float, rows: int = 400) -> list[ScoreGroup]:
    rng = np.random.default_rng(seed)
    truth = np.repeat(CLASSES, rows // 3)
    raised = np.ones((len(truth), 3)) + strength * (truth[:, None] == np.array(CLASSES))
    scores = np.stack([rng.dirichlet(row) for row in raised])
    return score_groups(source, truth.tolist(), scores, CLASSES)


def counts(posts: np.ndarray, sums: np.ndarray) -> KeyCounts:
    return KeyCounts(posts, np.round(sums).astype(np.int64), sums, np.zeros(len(posts), np.int64))


def steps(models: Sequence[ScoreModel], posts: np.ndarray, negatives: np.ndarray, sums: np.ndarray) -> list[Verdicts]:
    detector, found = Detector(HOURLY, models), []
    padded = [np.pad(a, ((0, 0), (HOURLY.span, 0))) for a in (posts, negatives, sums)]
    numbers, quiet = np.zeros(len(posts), np.int64), np.zeros(len(posts), np.bool_)
    for end in range(1, posts.shape[1] + 1):
        now = [a[:, end : end + HOURLY.span] for a in padded]
        found.append(detector.step(KeyCounts(now[0], now[1], now[2], numbers), quiet))
    return found


def hours(seed: int = 4, keys: int = 5, length: int = 260) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    posts = rng.poisson(np.linspace(10, 80, keys)[:, None] * np.ones(length))
    share = np.full((keys, length), 0.2)
    share[:, 220:226] = 0.6
    return posts, rng.binomial(posts, share)


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.integers(1, 3))
def test_labels_are_read_as_they_are(mean: float, called: float, posts: int) -> None:
    reading = COUNTED.read(evidence(mean, called))
    assert reading.worth.tolist() == [1.0]
    assert reading.negatives(np.array([posts]), np.array([2.0])).tolist() == [2.0]


@given(st.floats(0.02, 0.95))
def test_a_judge_who_never_errs_is_worth_as_much_as_labels(mean: float) -> None:
    judged, labelled = PERFECT.read(evidence(mean, mean)), COUNTED.read(evidence(mean, mean))
    for name in ("share", "offset", "slope", "kappa", "phi"):
        assert getattr(judged, name) == pytest.approx(getattr(labelled, name), abs=1e-9)


def test_the_rule_finds_the_same_by_the_scores_of_a_judge_who_never_errs() -> None:
    posts, negatives = hours()
    by_score = steps([PERFECT], posts, negatives, negatives.astype(np.float64))
    by_label = steps([COUNTED], posts, negatives, np.zeros(posts.shape))
    assert max(verdict.score.max() for verdict in by_label) > 4
    for score, label in zip(by_score, by_label, strict=True):
        np.testing.assert_allclose(score.score, label.score, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(score.observed, label.observed, atol=1e-9)
        np.testing.assert_allclose(score.expected, label.expected, rtol=1e-9)


@given(st.floats(0.05, 0.6), st.integers(50, 5000), st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_an_estimate_is_unbiased_where_the_scores_are_those_of_the_data_set(share: float, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    negative = rng.random(n) < share
    scores = np.clip(rng.normal(np.where(negative, 0.68, 0.27), np.where(negative, 0.1, 0.12)), 0, 1)
    model = ScoreModel((0.68,), (0.27,), (0.01,), (0.0144,), (0.9,), (0.1,), (0.0,))
    reading = model.read(evidence(0.27 + 0.2 * 0.41))
    estimated = float(reading.negatives(np.array([n]), np.array([scores.sum()]))[0]) / n
    error = 0.12 / 0.41 / np.sqrt(n)
    assert estimated == pytest.approx(negative.mean(), abs=5 * error + 0.002)
    low, high = reading.interval(np.array([n]), np.array([estimated * n]))
    assert float(low[0]) <= np.clip(estimated, 0, 1) <= float(high[0])


@given(st.sampled_from([COUNTED, PERFECT, TWEETS, MIXED]), st.floats(0.005, 0.95), st.floats(0, 1), st.floats(0.01, 2))
def test_a_reading_is_finite_and_within_its_bounds(model: ScoreModel, mean: float, called: float, phi: float) -> None:
    reading = model.read(evidence(mean, called, phi, 0.1))
    assert all(np.isfinite(values).all() for values in reading)
    assert 0.005 <= reading.share[0] <= 0.95
    assert 0 < reading.worth[0] <= 1
    assert reading.slope[0] > 0
    assert reading.offset[0] + reading.slope[0] * reading.share[0] == pytest.approx(mean, abs=0.01)


@given(st.integers(0, 500), st.floats(-50, 600), st.floats(0.0, 100.0))
def test_more_score_is_never_fewer_negatives(posts: int, score_sum: float, more: float) -> None:
    reading = MIXED.read(evidence(0.35))
    n = np.array([posts])
    less, most = (reading.negatives(n, np.array([s])) for s in (score_sum, score_sum + more))
    assert most >= less
    lows, highs = zip(*(reading.interval(n, negatives) for negatives in (less, most)), strict=True)
    for ends in (lows, highs):
        assert 0 <= ends[0] <= 1


def test_an_empty_window_says_nothing_about_its_share() -> None:
    low, high = TWEETS.read(evidence(0.35)).interval(np.array([0]), np.array([0.0]))
    assert (low[0], high[0]) == (0, 1)


def test_the_interval_narrows_with_the_posts_and_widens_with_disagreement() -> None:
    def width(model: ScoreModel, n: int) -> float:
        low, high = model.read(evidence(0.35)).interval(np.array([n]), np.array([0.2 * n]))
        return float(high[0] - low[0])

    assert width(TWEETS, 1000) < width(TWEETS, 100) / 2
    apart = ScoreModel((0.68, 0.7), (0.3, 0.2), (0.05,) * 2, (0.06,) * 2, (), (), (0.01,) * 2)
    assert width(apart, 100_000) > 5 * width(TWEETS, 100_000)


def test_a_key_is_read_by_the_data_sets_whose_scores_look_like_its_own() -> None:
    like_tweets = MIXED.read(evidence(0.27 + 0.2 * 0.41, 0.27 + 0.2 * 0.57, 0.37, 0.05))
    assert like_tweets.slope[0] == pytest.approx(0.41, abs=0.03)
    assert like_tweets.share[0] == pytest.approx(0.2, abs=0.02)
    like_hotels = MIXED.read(evidence(0.1 + 0.2 * 0.75, 0.06 + 0.2 * 0.87, 0.65, 0.05))
    assert like_hotels.slope[0] == pytest.approx(0.75, abs=0.02)
    assert like_hotels.share[0] == pytest.approx(0.2, abs=0.02)


def test_the_scatter_of_a_key_s_scores_tells_data_sets_apart() -> None:
    narrow_and_wide = ScoreModel((0.6, 0.8), (0.2, 0.15), (0.01, 0.06), (0.01, 0.04), (), (), (0.01,) * 2)
    mean = 0.3
    wide = narrow_and_wide.read(evidence(mean, phi=0.5, log_phi_sd=0.05))
    narrow = narrow_and_wide.read(evidence(mean, phi=0.2, log_phi_sd=0.05))
    assert wide.slope[0] > narrow.slope[0] + 0.1


def test_the_data_set_with_a_larger_share_than_others_need_not_be_clipped() -> None:
    below = TWEETS.read(evidence(0.1))
    assert below.share[0] == pytest.approx(0.02)
    assert below.negatives(np.array([100]), np.array([10.0]))[0] == pytest.approx(2.0)


def test_the_order_of_the_data_sets_changes_nothing() -> None:
    turned = ScoreModel(*(values[::-1] for values in vars_of(MIXED)))
    for mean in (0.15, 0.3, 0.5):
        for one, other in zip(MIXED.read(evidence(mean)), turned.read(evidence(mean)), strict=True):
            assert one == pytest.approx(other)


def vars_of(model: ScoreModel) -> list[tuple[float, ...]]:
    return [getattr(model, name) for name in ScoreModel.__dataclass_fields__]


def test_groups_of_a_bundle_make_a_model_with_one_entry_per_data_set() -> None:
    bundle = [*groups("tweets", 1, 2.0), *groups("hotels", 2, 8.0)]
    model = ScoreModel.of(bundle, ("negative",))
    assert len(model.negative_mean) == 2
    assert model.negative_mean[1] > model.negative_mean[0] > model.other_mean[0] > model.other_mean[1]
    assert ScoreModel.of([g for g in bundle if g.label != "negative"], ("negative",)) == COUNTED


def test_several_classes_may_be_negative_together() -> None:
    two = ScoreModel.of(groups("tweets", 1, 2.0), ("negative", "neutral"))
    rest = ScoreModel.of(groups("tweets", 1, 2.0), ("positive",))
    assert two.negative_mean[0] == pytest.approx(1 - rest.other_mean[0], abs=1e-4)
    assert two.negative_variance[0] == pytest.approx(rest.other_variance[0], abs=1e-4)


def test_a_data_set_that_the_model_reads_the_wrong_way_round_is_left_out() -> None:
    wrong = [
        ScoreGroup("odd", label, 50, CLASSES, (0.3, 0.3, 0.4), (mean, 0.5, 0.5 - mean), ((0.01, 0, 0),) * 3)
        for label, mean in (("negative", 0.2), ("positive", 0.3))
    ]
    assert ScoreModel.of(wrong, ("negative",)) == COUNTED


def test_a_data_set_whose_scores_hardly_tell_negative_posts_from_others_is_left_out() -> None:
    flat = [
        ScoreGroup("odd", label, 50, CLASSES, (0.3, 0.3, 0.4), (mean, 0.5, 0.5 - mean), ((0.01, 0, 0),) * 3)
        for label, mean in (("negative", 0.3 + 1e-12), ("positive", 0.3))
    ]
    assert ScoreModel.of(flat, ("negative",)) == COUNTED


def test_subjects_are_read_by_the_sentiment_toward_them() -> None:
    prevalence = {"sentiment": groups("tweets", 1, 2.0), "toward": groups("news", 2, 4.0)}
    scopes = [Scope("autos"), Scope("", "Nova"), Scope("autos", "Nova"), Scope("", "", "weibo")]
    models = score_models(prevalence, NegativeDefinition())
    assert models.text != models.toward
    assert models.numbers(scopes).tolist() == [0, 1, 1, 0]
    without = score_models({"sentiment": prevalence["sentiment"]}, NegativeDefinition())
    assert without.text == without.toward != COUNTED
    assert without.numbers(scopes).tolist() == [0, 0, 0, 0]
    assert score_models({}, NegativeDefinition()) == ScoreModels(COUNTED, COUNTED)
    assert score_models(prevalence, NegativeDefinition("emotion", ("angry",))) == ScoreModels(COUNTED, COUNTED)


def test_a_minimum_score_of_labels_says_nothing_about_the_kind_of_text() -> None:
    prevalence = {"sentiment": groups("tweets", 1, 2.0)}
    assert not score_models(prevalence, NegativeDefinition(score_from=0.6)).text.negative_called
    assert score_models(prevalence, NegativeDefinition()).text == score_models(prevalence, NegativeDefinition()).text


@given(st.integers(1, 200), st.floats(0, 1), st.floats(0, 3), st.floats(0.02, 0.9), st.floats(0.003, 0.3))
@settings(max_examples=60)
def test_the_tail_falls_with_every_fraction_of_a_negative(
    n: int, part: float, more: float, share: float, rho: float
) -> None:
    m = 1 / rho - 1
    k = np.minimum(np.array([n * part, n * part + more, np.floor(n * part), np.ceil(n * part)]), n)
    one = np.ones(4)
    tails = log10_tail(k, n * one, share * m * one, (1 - share) * m * one)
    assert np.isfinite(tails).all()
    assert (tails <= 0).all()
    assert tails[1] <= tails[0] + 1e-9
    assert tails[3] - 1e-9 <= tails[0] <= tails[2] + 1e-9


@pytest.mark.parametrize("model", [TWEETS, MIXED])
def test_no_number_is_lost_on_keys_without_posts(model: ScoreModel) -> None:
    posts, negatives = hours(keys=3, length=60)
    posts[0], negatives[0] = 0, 0
    posts[1, 20:40], negatives[1, 20:40] = 0, 0
    for verdict in steps([model], posts, negatives, 0.3 * posts + 0.2 * negatives):
        for values in (verdict.score, verdict.observed, verdict.expected, verdict.baseline):
            assert np.isfinite(values).all()
        assert (verdict.observed <= verdict.posts).all()
        assert (verdict.observed >= 0).all()


def test_the_posts_of_a_poor_judge_are_worth_less_and_its_spikes_score_less() -> None:
    posts, negatives = hours()
    rng = np.random.default_rng(9)
    sums = sum_of_scores(rng, posts, negatives)
    by_score = max(v.score.max() for v in steps([TWEETS], posts, negatives, sums))
    by_truth = max(v.score.max() for v in steps([COUNTED], posts, negatives, sums))
    assert 4 < by_score < by_truth


def test_the_estimate_of_a_window_gives_its_own_numbers_back() -> None:
    posts, negatives = hours()
    sums = sum_of_scores(np.random.default_rng(9), posts, negatives)
    detector = Detector(HOURLY, [TWEETS])
    now = counts(posts[:, : HOURLY.span], sums[:, : HOURLY.span])
    verdicts = detector.step(now, np.zeros(len(posts), np.bool_))
    window = slice(HOURLY.span - int(verdicts.window[3]), HOURLY.span)
    estimate = detector.estimate(3, now.between(window.start, window.stop))
    assert estimate is not None
    again = estimate.negatives(posts[3, window].sum(), sums[3, window].sum())
    assert again == pytest.approx(verdicts.observed[3])
    assert estimate.counted == now.negatives[3, window].sum()
    assert estimate.share_low <= verdicts.observed[3] / verdicts.posts[3] <= estimate.share_high
    assert Detector(HOURLY).reading.share.shape == (0,)


def sum_of_scores(rng: np.random.Generator, posts: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Sums whose means and variances are those of `TWEETS`."""
    mean = 0.68 * negatives + 0.27 * (posts - negatives)
    variance = 0.05 * negatives + 0.06 * (posts - negatives)
    return np.asarray(np.clip(rng.normal(mean, np.sqrt(variance)), 0, posts))


def test_a_reading_can_be_taken_for_some_keys() -> None:
    reading = MIXED.read(Evidence(np.array([0.2, 0.3, 0.4]), np.full(3, 0.3), np.ones(3), np.full(3, np.inf)))
    one = reading.at(slice(1, 2))
    assert isinstance(one, Reading)
    assert one.share.tolist() == [reading.share[1]]


def test_covariances_that_rounding_made_negative_count_as_no_scatter() -> None:
    less = tuple(tuple(0.0 if i == j else -1e-6 for j in range(3)) for i in range(3))
    classes = ("negative", "bad", "positive")
    made = [
        ScoreGroup("reviews", label, 50, classes, called, called, less)
        for label, called in (("negative", (0.5, 0.5, 0.0)), ("positive", (0.0, 0.0, 1.0)))
    ]
    model = ScoreModel.of(made, ("negative", "bad"))
    assert (model.negative_variance, model.share_error) == ((0.0,), (0.0,))


@pytest.mark.parametrize("usual", [1, 3, 40, 130])
def test_the_scatter_of_scores_is_found_at_any_volume(usual: int) -> None:
    """The share of each bucket varies by itself, which must not pass for the scatter of the scores."""
    rng = np.random.default_rng(5)
    posts = rng.poisson(usual * (1 + 0.5 * np.sin(np.arange(900) * 2 * np.pi / 24)), (8, 900))
    negatives = rng.binomial(posts, rng.beta(0.2 * 49, 0.8 * 49, posts.shape))
    mean = 0.27 + 0.2 * 0.41
    sums = rng.normal(
        0.68 * negatives + 0.27 * (posts - negatives), np.sqrt(0.05 * negatives + 0.06 * (posts - negatives)) + 1e-9
    )
    dispersion = Dispersion((2,), 2, Prior(half_life=4000, steps=20))
    dispersion.grow(8)
    means, keep = np.full(8, mean), np.ones(8, np.bool_)
    reading = TWEETS.read(Evidence(means, np.full(8, 0.384), np.ones(8), np.full(8, np.inf)))
    for end in range(5, 901):
        dispersion.learn(posts[:, end - 5 : end], sums[:, end - 5 : end], means, reading, keep)
    phi, log_sd = dispersion.phi()
    true = (0.2 * 0.05 + 0.8 * 0.06 + 0.16 * 0.41**2) / (mean * (1 - mean))
    assert phi.mean() == pytest.approx(true, rel=0.12)
    assert (abs(np.log(phi / true)) < 3 * log_sd).all()
    assert (log_sd < 0.6).all()


def test_the_scatter_of_a_key_without_posts_is_unknown() -> None:
    dispersion = Dispersion((2,), 2, Prior(half_life=4000, steps=20))
    dispersion.grow(1)
    phi, log_sd = dispersion.phi()
    assert (phi.tolist(), log_sd.tolist()) == ([1.0], [np.inf])
    posts, mean = np.ones((1, 5), np.int64), np.array([0.35])
    reading = TWEETS.read(evidence(0.35))
    for score in (0.1, 0.6) * 60:
        dispersion.learn(posts, np.full(posts.shape, score), mean, reading, np.array([True]))
    assert dispersion.phi()[0][0] == pytest.approx(0.25**2 / (0.35 * 0.65), rel=0.01)
