"""How far what a model sees and says has moved from what it saw and said when it was made."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import jensenshannon

from models.drift import Watch, distances, divergence, profile
from models.heads import Head, Prediction

HEADS = {"mood": Head("mood", ("bad", "good"))}
COUNTS = arrays(np.int64, 5, elements=st.integers(0, 50)).filter(np.any)


def said(bad: float, version: str = "1") -> Prediction:
    return Prediction(HEADS, {"mood": np.array([bad, 1 - bad], np.float32)}, "m", version)


@given(COUNTS, COUNTS)
def test_the_divergence_is_that_of_jensen_and_shannon_in_bits(some: np.ndarray, others: np.ndarray) -> None:
    p, q = some / some.sum(), others / others.sum()
    assert divergence(p, q) == pytest.approx(jensenshannon(p, q, 2) ** 2, abs=1e-9)
    rows = divergence(np.stack([p, q]), np.stack([q, q]))
    assert rows == pytest.approx([float(divergence(p, q)), 0.0], abs=1e-9)


def test_a_profile_says_what_a_model_saw_and_how_sure_it_was() -> None:
    texts = ["手机爆炸了", "fine", "well", "good"]
    found = profile(texts, [said(0.95), said(0.45), said(0.25), said(0.0)], 0.125)
    assert found.rows == 4
    assert found.classes == {"mood": {"bad": 0.25, "good": 0.75}}
    assert list(found.classes["mood"]) == ["bad", "good"], "classes in the order of their names"
    assert found.confidence == {"mood": [0, 0, 0, 0, 0, 0.25, 0, 0.25, 0, 0.5]}, "a score of 1 is in the last bin"
    assert found.expected_accuracy["mood"] == pytest.approx((0.95 + 0.55 + 0.75 + 1) / 4)
    assert found.languages == {"zh": 0.25, "latin": 0.75}
    assert found.unknown_tokens == 0.125


def test_distances_are_between_classes_confidence_and_languages_and_say_how_sure_they_are() -> None:
    then = profile(["one", "two", "three", "four"] * 50, [said(p) for p in (0.9, 0.1, 0.2, 0.3)] * 50, 0.0)
    now = profile(["手机爆炸了", "two", "three", "four"] * 50, [said(p) for p in (0.9, 0.8, 0.7, 0.3)] * 50, 0.0)
    found = distances(then, now)
    assert list(found) == ["classes/mood", "confidence/mood", "languages"]
    assert found["classes/mood"].value == pytest.approx(
        float(divergence(np.array([0.25, 0.75]), np.array([0.75, 0.25])))
    )
    assert found["languages"].value == pytest.approx(float(divergence(np.array([1.0, 0.0]), np.array([0.75, 0.25]))))
    for distance in found.values():
        assert 0 < distance.low < distance.value < distance.high < 1
    # 95 % of the shares that 200 rows of a share of .75 give lie within .06 of it.
    ends = [float(divergence(np.array([0.25, 0.75]), np.array([p, 1 - p]))) for p in (0.69, 0.81)]
    assert (found["classes/mood"].low, found["classes/mood"].high) == pytest.approx(tuple(ends), abs=0.02)
    same = distances(then, then)["classes/mood"]
    assert same.value == 0
    assert same.high < 0.02, "what resampling alone moves"


def test_the_watch_reports_the_last_labels_every_so_many() -> None:
    reported: list[tuple[str, float]] = []
    watch = Watch({"mood": {"bad": 0.5, "good": 0.5}}, lambda *found: reported.append(found), window=4, every=3)
    watch.add([said(0.9), said(0.1)])
    assert reported == []
    watch.add([said(0.9)])
    [(head, distance)] = reported
    assert head == "mood"
    assert distance == pytest.approx(float(divergence(np.array([0.5, 0.5]), np.array([2 / 3, 1 / 3]))))
    watch.add([said(0.9), said(0.9)])
    assert len(reported) == 1
    watch.add([said(0.9)])
    head, distance = reported[1]
    assert head == "mood"
    assert distance == pytest.approx(float(divergence(np.array([0.5, 0.5]), np.array([1.0, 0.0]))))
    watch.add([said(0.1)] * 4)
    assert len(reported) == 3, "a batch is reported once, however many it holds"


def test_the_watch_reports_a_class_that_the_reference_never_had() -> None:
    reported: list[float] = []
    watch = Watch({"mood": {"other": 1.0}}, lambda _, found: reported.append(found), every=1)
    watch.add([said(0.9)])
    assert reported == [0.5], "half of the distance to a share of nothing"


def test_one_text_has_a_profile() -> None:
    found = profile(["fine"], [said(0.2)], 0.0)
    assert (found.rows, found.classes, found.languages) == (1, {"mood": {"good": 1.0}}, {"latin": 1.0})
