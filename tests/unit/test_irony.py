"""Irony moves part of what sentiment reads as positive to the negative class, and changes nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.bundle import HeadEntry
from models.heads import Head, Prediction
from models.irony import Doubt, doubted

SHARES = st.floats(0, 1)
SENTIMENTS = st.lists(st.floats(0.01, 1), min_size=3, max_size=3).map(
    lambda weights: dict(zip(("negative", "neutral", "positive"), (w / sum(weights) for w in weights), strict=True))
)
HEADS = {
    "sentiment": Head("sentiment", ("negative", "neutral", "positive")),
    "irony": Head("irony", ("not", "irony"), doubt=Doubt(0.6, 0.75)),
    "mood": Head("mood", ("negative", "positive")),
}


def prediction(sentiment: list[float], irony: float, heads: dict[str, Head] | None = None) -> Prediction:
    given_heads = heads or HEADS
    every = {"sentiment": sentiment, "irony": [1 - irony, irony], "mood": [0.25, 0.75]}
    return Prediction(given_heads, {h: np.array(every[h], np.float32) for h in given_heads})


def test_praise_that_is_probably_ironic_counts_as_negative() -> None:
    ironic = prediction([0.125, 0.125, 0.75], irony=0.8)
    assert ironic.label("sentiment") == "negative"
    assert ironic.score("sentiment") == pytest.approx(0.125 + 0.75 * 0.8 * 0.75)
    assert ironic.meant("sentiment") == pytest.approx({"negative": 0.575, "neutral": 0.125, "positive": 0.3})
    assert ironic.most_probable("sentiment") == "positive", "the drift compares what the model itself says"
    assert ironic.probabilities("sentiment")["positive"] == pytest.approx(0.75)
    assert (ironic.label("irony"), ironic.label("mood")) == ("irony", "positive")


def test_praise_that_may_be_sincere_stays_as_it_is() -> None:
    sincere = prediction([0.125, 0.125, 0.75], irony=0.59)
    assert sincere.label("sentiment") == "positive"
    assert sincere.score("sentiment") == pytest.approx(0.75)
    assert sincere.meant("sentiment") == sincere.probabilities("sentiment")


def test_without_a_rule_or_a_head_for_irony_nothing_changes() -> None:
    plain = {**HEADS, "irony": Head("irony", ("not", "irony"))}
    without = {"sentiment": HEADS["sentiment"]}
    for heads in (plain, without):
        assert prediction([0.1, 0.1, 0.8], irony=0.99, heads=heads).label("sentiment") == "positive"


@given(SENTIMENTS, SHARES, SHARES, SHARES)
def test_the_probabilities_stay_a_distribution_and_only_the_negative_one_grows(
    probabilities: dict[str, float], threshold: float, weight: float, irony: float
) -> None:
    moved = Doubt(threshold, weight).moved(irony)
    meant = doubted(probabilities, moved)
    assert sum(meant.values()) == pytest.approx(1)
    assert meant["negative"] >= probabilities["negative"]
    assert meant["neutral"] == probabilities["neutral"]
    assert 0 <= meant["positive"] <= probabilities["positive"]
    assert 0 <= moved <= min(weight, irony)
    if irony < threshold:
        assert meant == probabilities


@given(SENTIMENTS, SHARES, SHARES)
def test_more_irony_never_means_less_doubt(probabilities: dict[str, float], one: float, other: float) -> None:
    doubt = Doubt(0.5, 0.8)
    low, high = sorted((one, other))
    assert doubted(probabilities, doubt.moved(low))["negative"] <= doubted(probabilities, doubt.moved(high))["negative"]


def test_classes_that_are_not_those_of_a_sentiment_are_left_alone() -> None:
    assert doubted({"good": 0.5, "bad": 0.5}, 0.9) == {"good": 0.5, "bad": 0.5}


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "mood", "labels": ["not", "irony"]},
        {"name": "irony", "labels": ["no", "yes"]},
        {"name": "irony", "labels": ["irony", "not"]},
    ],
)
def test_a_doubt_at_another_head_or_with_other_classes_is_refused(entry: dict[str, object]) -> None:
    made = HeadEntry.model_validate({**entry, "temperature": 1, "doubt": {"threshold": 0.5, "weight": 0.5}})
    with pytest.raises(ValueError, match=r"doubt belongs to the head 'irony' with not, irony"):
        made.head()
