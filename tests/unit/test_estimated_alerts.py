"""From sums of scores to the numbers in an alert: lane, back-test, explanation, messages."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from pipeline.alerting.alerts.estimate_note import estimate_note
from pipeline.alerting.alerts.evidence import Evidence
from pipeline.alerting.alerts.grouping import group_alert
from pipeline.alerting.alerts.headline import counts_line
from pipeline.alerting.alerts.maker import make_alert
from pipeline.alerting.counting.history import CountHistory, read_history
from pipeline.alerting.counting.table import CountTable
from pipeline.alerting.detection.negative_share import DetectorConfig
from pipeline.alerting.detection.score_model import ScoreModel
from pipeline.alerting.evaluation.backtest import episodes, negative_scores
from pipeline.alerting.evaluation.episodes import Episode, Policy, Transition
from pipeline.alerting.evaluation.events import Event
from pipeline.alerting.evaluation.negative_lane import NegativeLane
from pipeline.alerting.evaluation.score_models import ScoreModels
from pipeline.alerting.notify.channels.message import message
from pipeline.domain.alert import Alert
from pipeline.domain.counting import BUCKET_S, Cell, Scope
from pipeline.domain.errors import Fatal
from tests.builders import START, as_dict

#: A model that calls a quarter of all other posts negative.
POOR = ScoreModel((0.68,), (0.27,), (0.05,), (0.06,), (0.84,), (0.27,), (0.01,))
MODELS = ScoreModels(POOR, POOR)
CONFIG = DetectorConfig(
    windows=(12, 36), guard=12, recent=12, half_life=900, warm_after=400, min_negatives=10, min_lift=1.5
)
LENGTH, SPIKE = 900, slice(840, 876)
TOPIC = Scope("autos")


def read_by(rng: np.random.Generator, posts: np.ndarray, negatives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels and sums of scores as `POOR` describes them."""
    others = posts - negatives
    labels = rng.binomial(negatives, 0.84) + rng.binomial(others, 0.27)
    sums = rng.normal(0.68 * negatives + 0.27 * others, np.sqrt(0.05 * negatives + 0.06 * others))
    return labels, np.clip(sums, 0, posts)


def cells() -> tuple[list[Cell], np.ndarray, np.ndarray]:
    """One topic whose share rises from .15 to .5, and its true posts and negatives."""
    rng = np.random.default_rng(8)
    share = np.full(LENGTH, 0.15)
    share[SPIKE] = 0.5
    posts = rng.poisson(8, LENGTH)
    negatives = rng.binomial(posts, share)
    labels, sums = read_by(rng, posts, negatives)
    start = int(START.timestamp())
    rows = zip(posts.tolist(), labels.tolist(), sums.tolist(), strict=True)
    made = [Cell(start + i * BUCKET_S, "autos", "", n, k, score_sum=s) for i, (n, k, s) in enumerate(rows)]
    return made, posts, negatives


def events(models: ScoreModels) -> list[tuple[int, Event]]:
    lane = NegativeLane(CONFIG, Policy())
    lane.read_by(models)
    table, start, found = CountTable(CONFIG.span + LENGTH), int(START.timestamp()), []
    table.advance(start + LENGTH * BUCKET_S)
    table.refill(cells()[0], start)
    for column in range(CONFIG.span + 1, CONFIG.span + LENGTH + 1):
        if column <= CONFIG.span + 600:
            lane.learn(table, column)
        else:
            found += [(column - CONFIG.span, event) for event in lane.step(table, column)]
    return found


def alert_of(event: Event) -> Alert:
    return make_alert(event, Evidence(model="starter 1"), None)


def test_a_rise_is_stated_as_it_is_and_the_labels_stand_beside_it() -> None:
    end, event = next((e, v) for e, v in events(MODELS) if v.transition is not Transition.REMINDER)
    _, posts, negatives = cells()
    peak = event.episode.peak
    window = slice(end - peak.window_s // BUCKET_S, end)
    true = negatives[window].sum()
    assert SPIKE.start < end <= SPIKE.stop
    assert peak.posts == posts[window].sum()
    assert peak.counted is not None
    assert peak.share_low is not None
    assert peak.share_high is not None
    assert abs(peak.observed - true) <= 12
    assert peak.share_low <= true / peak.posts <= peak.share_high
    assert peak.baseline == pytest.approx(0.15, abs=0.03)


def test_the_alert_gives_what_re_derives_its_number() -> None:
    end, event = events(MODELS)[0]
    alert, peak = alert_of(event), event.episode.peak
    made, _, _ = cells()
    score_sum = sum(cell.score_sum for cell in made[end - peak.window_s // BUCKET_S : end])
    found = as_dict(alert.to_json())
    again = (score_sum - found["posts"] * found["other_mean"]) / (found["negative_mean"] - found["other_mean"])
    assert found["observed"] == pytest.approx(again, abs=0.6)
    assert found["share"] == pytest.approx(found["observed"] / found["posts"], abs=1e-3)
    assert found["share_low"] < found["share"] < found["share_high"]
    assert Alert.from_json(alert.id, found) == alert


def test_counted_labels_say_nothing_of_an_estimate() -> None:
    found = [alert_of(event).to_json() for _, event in events(ScoreModels())]
    assert all("counted" not in alert and "share_low" not in alert for alert in found)


def test_the_last_day_and_the_last_hour_are_estimated_too() -> None:
    end, event = events(MODELS)[0]
    _, posts, negatives = cells()
    series = event.series
    assert all(0 <= k <= n for n, k in zip(series.posts, series.negatives, strict=True))
    last_hour = alert_of(event).last_hour
    assert last_hour is not None
    hour = slice(end - 12, end)
    assert last_hour.posts == posts[hour].sum()
    assert last_hour.observed == pytest.approx(negatives[hour].sum(), abs=15)


def test_messages_give_the_interval_and_the_labels_in_both_languages() -> None:
    alert = alert_of(events(MODELS)[0][1])
    note = estimate_note(alert, "en")
    assert "80 % interval" in note
    assert f"{alert.peak.counted} labelled negative" in note
    assert note in counts_line(alert)
    assert note in message(alert, "opened", "en").facts
    assert any("80% 置信区间" in fact for fact in message(alert, "opened", "zh").facts)


def test_a_group_of_alerts_has_no_interval_of_its_own() -> None:
    alert = alert_of(events(MODELS)[0][1])
    grouped = group_alert([alert, alert])
    assert grouped.peak.counted is None
    assert estimate_note(grouped, "en") == ""


def test_other_score_models_start_the_baselines_again() -> None:
    lane = NegativeLane(CONFIG, Policy())
    assert lane.read_by(MODELS)
    assert not lane.read_by(ScoreModels(POOR, POOR))
    assert lane.read_by(ScoreModels())


def test_an_explanation_gives_the_estimate_of_the_best_window() -> None:
    lane = NegativeLane(CONFIG, Policy())
    lane.read_by(MODELS)
    table, start = CountTable(CONFIG.span + LENGTH), int(START.timestamp())
    table.advance(start + LENGTH * BUCKET_S)
    table.refill(cells()[0], start)
    last = CONFIG.span + SPIKE.stop
    for column in range(CONFIG.span + 1, last):
        lane.learn(table, column)
    verdict = lane.verdict_on(table, last, lane.verdicts(table, last), 0)
    best = max(verdict.windows, key=lambda w: w.score)
    assert verdict.estimate is not None
    assert verdict.estimate.counted == best.counted > best.negatives
    assert verdict.observation.counted == best.counted


def history(*, scored: bool) -> CountHistory:
    rng = np.random.default_rng(2)
    share = np.full((4, 21 * 24), 0.15)
    share[1, 400:406] = 0.55
    posts = rng.poisson(90, share.shape)
    labels, sums = read_by(rng, posts, rng.binomial(posts, share))
    keys = ("subject:a", "subject:b", "topic:c", "topic:d")
    return CountHistory(keys, START, 3600, posts, labels, score_sums=sums if scored else None)


def found_in(counts: CountHistory, models: ScoreModels | None) -> list[Episode]:
    scores = negative_scores(counts, DetectorConfig.every(3600), models=models)
    return episodes(counts, scores, [5.0] * 4, Policy())


def test_a_back_test_estimates_where_it_has_sums_and_models() -> None:
    [episode] = found_in(history(scored=True), MODELS)
    assert episode.key == "subject:b"
    assert episode.peak.counted is not None
    assert episode.peak.share_low is not None
    assert episode.peak.share_low < 0.55
    assert abs(episode.started_at - (START + timedelta(hours=400))) <= timedelta(hours=2)


@pytest.mark.parametrize(("scored", "models"), [(False, MODELS), (True, None), (True, ScoreModels())])
def test_a_back_test_without_sums_or_models_counts_labels(scored: bool, models: ScoreModels | None) -> None:
    assert all(e.peak.counted is None for e in found_in(history(scored=scored), models))


def test_a_score_below_the_history_s_beginning_keeps_its_estimate() -> None:
    scores = negative_scores(history(scored=True), DetectorConfig.every(3600), models=MODELS)
    later = scores.since(300)
    assert {(key, at + 300) for key, at in later.estimates} == {k for k in scores.estimates if k[1] >= 300}


HEADER = "timestamp,key,posts,negative,score_sum"


def test_a_file_may_have_sums_of_scores() -> None:
    rows = ["2026-01-01T00:00:00Z,a,5,1,1.75", "2026-01-01T01:00:00Z,a,5,1,0"]
    read = read_history([HEADER, *rows], "h.csv")
    assert read.score_sums is not None
    assert read.score_sums.tolist() == [[1.75, 0.0]]
    without = read_history(["timestamp,key,posts,negative", "2026-01-01T00:00:00Z,a,5,1"], "h.csv")
    assert without.score_sums is None
    later = read.since(1)
    assert later.start - read.start == timedelta(hours=1)
    assert later.score_sums is not None
    assert later.score_sums.tolist() == [[0.0]]


@pytest.mark.parametrize("value", ["", "-0.1", "5.1", "nan", "inf", "many", "1_0"])
def test_a_sum_of_scores_that_is_none_is_refused_with_its_row(value: str) -> None:
    with pytest.raises(Fatal, match="row 2: score_sum"):
        read_history([HEADER, f"2026-01-01T00:00:00Z,a,5,1,{value}"], "h.csv")


def test_a_row_without_its_sum_of_scores_is_refused_with_what_to_write() -> None:
    rows = ["2026-01-01T00:00:00Z,a,5,1,1.75", "2026-01-01T01:00:00Z,a,5,1"]
    with pytest.raises(Fatal, match="row 3: score_sum '' is not a number from 0 to 5.*in every row, or leave out"):
        read_history([HEADER, *rows], "h.csv")
