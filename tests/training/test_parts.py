"""The pure parts of training: losses, augmentation, sampling, scores, gate, drift."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_fscore_support

from models.drift import Watch, distances, profile
from models.heads import Head, Prediction
from tests.training.conftest import toy_examples
from training.data.augmentation import Augmenter, nearest_tokens
from training.data.examples import Example
from training.data.perturbations import perturbed_copies
from training.data.sampling import resampled
from training.evaluation.evaluate import slices
from training.evaluation.gate import Policy, judge
from training.evaluation.label_errors import label_errors
from training.evaluation.scores import (
    Outcomes,
    accuracy_of,
    calibration_error,
    interval,
    macro_f1_of,
    outcomes,
    paired_interval,
    scores,
)
from training.loop.losses import masked_set_loss

LABELS = {"sentiment": ["negative", "neutral", "positive"]}


def loss(logits: list[list[float]], allowed: list[list[bool]], **changes: Any) -> float:
    options = {"smoothing": 0.0, **changes}
    weights = torch.ones(len(logits))
    return float(masked_set_loss({"h": torch.tensor(logits)}, {"h": torch.tensor(allowed)}, {"h": weights}, **options))


def test_losses_by_hand() -> None:
    logits, right = [[2.0, 0.0]], [[True, False]]
    p = float(torch.tensor(logits).softmax(1)[0, 0])
    assert loss(logits, right) == pytest.approx(-np.log(p), rel=1e-5)
    assert loss(logits, right, loss="focal") == pytest.approx(-((1 - p) ** 2) * np.log(p), rel=1e-5)
    assert loss(logits, right, loss="gce") == pytest.approx((1 - p**0.7) / 0.7, rel=1e-5)
    assert loss(logits, [[True, True]]) == pytest.approx(0, abs=1e-6)
    assert loss(logits, [[False, False]]) == 0
    far = [[-50.0, 50.0]]
    assert loss(far, right) > 90
    assert loss(far, right, loss="gce") <= 1 / 0.7 + 1e-6, "a wrong label cannot pull without end"


def test_disturbed_copies_are_new_texts_with_the_labels_of_their_rows() -> None:
    soft = np.full(3, 1 / 3, np.float16)
    rows = [Example(f"post number {i} of a phone 手机很好用", "s", {"h": (i,)}, {"h": 0.5}, soft) for i in range(400)]
    copies = perturbed_copies(rows, 0.25, seed=3)
    assert 60 < len(copies) < 140
    assert copies == perturbed_copies(rows, 0.25, seed=3)
    of = {row.targets["h"]: row for row in rows}
    for copy in copies:
        row = of[copy.targets["h"]]
        assert copy.text != row.text
        assert (copy.weights, copy.source, copy.soft is soft) == (row.weights, "s", True)
    assert perturbed_copies(rows, 0.0, seed=3) == []
    short = [copy.text for seed in range(20) for copy in perturbed_copies([Example("手", "s", {})], 1.0, seed)]
    assert 0 < len(short) < 20, "nothing to exchange: only a sign makes a copy"
    assert all("手" in text and len(text) > 1 for text in short)


@given(st.lists(st.tuples(st.floats(-4, 4), st.booleans()), min_size=1, max_size=12), st.floats(0, 0.9))
def test_a_trimmed_loss_leaves_out_the_greatest_of_the_labelled_rows(
    rows: list[tuple[float, bool]], trim: float
) -> None:
    logits, allowed = [[x, 0.0] for x, _ in rows], [[labelled, False] for _, labelled in rows]
    each = sorted(np.log1p(np.exp(-x)) for x, labelled in rows if labelled)
    kept = each[: len(each) - int(np.float32(trim) * len(each))]
    assert loss(logits, allowed, trim=trim) == pytest.approx(sum(kept) / max(1, len(kept)), rel=1e-4, abs=1e-6)


@given(
    st.lists(st.integers(4, 99), min_size=0, max_size=30),
    st.floats(0, 0.9),
    st.floats(0, 0.9),
    st.floats(0, 1),
    st.integers(0, 10_000),
)
def test_augmentation_keeps_the_ends_and_invents_nothing(
    inner: list[int], drop: float, replace: float, swap: float, seed: int
) -> None:
    near = [(i + 1) % 100 for i in range(100)]
    row = [2, *inner, 3]
    made = Augmenter(drop, replace, swap, near)(row, random.Random(seed))
    assert (made[0], made[-1]) == (2, 3)
    assert len(made) <= len(row)
    assert set(made[1:-1]) <= set(inner) | {near[i] for i in inner}
    only_swapped = Augmenter(0, 0, swap)(row, random.Random(seed))
    assert Counter(only_swapped) == Counter(row)


def test_neighbours_are_the_nearest_rows() -> None:
    rows = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
    assert nearest_tokens(rows, batch=3) == [1, 0, 3, 2]


def test_resampling_evens_the_classes_out() -> None:
    rows = [Example(str(i), "s", {"h": (int(i < 30),)}) for i in range(1000)]
    assert resampled(rows, 0.0, seed=1) == list(range(1000))
    drawn = Counter(rows[i].targets["h"] for i in resampled(rows, 1.0, seed=1))
    assert 400 < drawn[(1,)] < 600


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=3, max_size=60))
def test_scores_agree_with_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    true = [t for t, _ in pairs]
    examples = [Example("", "", {"sentiment": (t,)}) for t in true]
    predicted = np.eye(3, dtype=np.float32)[[s for _, s in pairs]]
    found = scores(outcomes(predicted, examples, "sentiment", every_class=True))
    said = [s for _, s in pairs]
    p, r, f, _ = precision_recall_fscore_support(true, said, labels=[0, 1, 2], zero_division=0)
    assert found.precision == pytest.approx(list(p))
    assert found.recall == pytest.approx(list(r))
    assert found.f1 == pytest.approx(list(f))
    assert found.macro_f1 == pytest.approx(np.mean([f[c] for c in set(true)]))
    o = outcomes(predicted, examples, "sentiment", every_class=True)
    assert macro_f1_of(o.said[None], o.true[None], len(o.classes))[0] == pytest.approx(found.macro_f1)


def test_calibration_error_and_intervals() -> None:
    confidence, right = np.full(1000, 0.8), np.arange(1000) % 10 < 8
    assert calibration_error(confidence, right) == pytest.approx(0, abs=1e-9)
    assert calibration_error(confidence, np.zeros(1000, np.bool_)) == pytest.approx(0.8)
    o = made(0.8, 510)
    low, high = interval(o, accuracy_of)
    assert low < 0.8 < high
    assert 0.05 < high - low < 0.09, "about 4 standard errors of a share over 510 rows"
    assert paired_interval(o, o, accuracy_of) == (0, 0, 0)


def made(accuracy: float, n: int) -> Outcomes:
    """Three classes in turn; `accuracy` (in tenths) of the rows of each class right."""
    true = np.arange(n) % 3
    right = np.arange(n) // 3 % 10 < 10 * accuracy
    return Outcomes(((0,), (1,), (2,)), np.arange(n), np.where(right, true, (true + 1) % 3), true, np.full(n, 0.9))


def verdict(
    old: Outcomes, new: Outcomes, *, newest: tuple[Outcomes, Outcomes] | None = None, **costs: tuple[float, float]
) -> Any:
    champion, challenger = {"golden": {"sentiment": old}}, {"golden": {"sentiment": new}}
    if newest:
        champion["newest"], challenger["newest"] = {"sentiment": newest[0]}, {"sentiment": newest[1]}
    return judge(champion, challenger, LABELS, costs, Policy())


def test_the_gate_lets_the_better_through_and_says_why_not() -> None:
    assert verdict(made(0.8, 600), made(0.9, 600)).promoted
    assert verdict(made(0.8, 600), made(0.8, 600)).promoted, "not worse on the golden set is enough"
    worse = verdict(made(0.9, 600), made(0.8, 600))
    assert not worse.promoted
    assert "golden/sentiment macro F1 -0.1" in worse.reason
    assert not verdict(made(0.8, 600), made(0.8, 600), newest=(made(0.8, 300), made(0.6, 300))).promoted
    slow = verdict(made(0.8, 600), made(0.9, 600), seconds_per_1000=(4.0, 8.0), size_bytes=(20, 20))
    assert not slow.promoted
    assert slow.reason.startswith("seconds_per_1000: 8")
    assert not verdict(made(0.8, 600), made(0.9, 600), alerts_per_key_week=(0.1, 0.3)).promoted


def test_a_class_that_falls_is_not_outweighed_by_the_others() -> None:
    old = made(0.8, 600)
    said = np.where(old.true == 0, 1, old.true)
    new = Outcomes(old.classes, old.rows, said, old.true, old.confidence)
    found = verdict(old, new)
    assert not found.promoted
    assert any(c.name == "class sentiment=negative" and not c.passed for c in found.checks)


def test_slices_by_what_is_known_of_a_row_and_what_the_model_says_of_it() -> None:
    heads = {"sentiment": ["bad", "good"], "topic": ["autos", "travel"]}
    texts = ["short", "手机很好，很满意", "x" * 60] * 40
    rows = [Example(text, ("a", "b")[i % 2], {"sentiment": (i % 2,)}) for i, text in enumerate(texts)]
    says = {"sentiment": [[0.9, 0.1]] * 120, "topic": [[0.2, 0.8]] * 40 + [[0.8, 0.2]] * 80}
    found = slices({h: np.array(p, np.float32) for h, p in says.items()}, heads, rows, "sentiment", every_class=True)
    sizes = {name: each.rows for name, each in found.items()}
    assert sizes == {
        **{"language latin": 80, "language zh": 40, "length medium (40-199)": 40, "length short (< 40)": 80},
        **{"source a": 60, "source b": 60, "topic autos": 80, "topic travel": 40},
    }
    assert (found["source a"].accuracy, found["source b"].accuracy) == (1.0, 0.0)


def test_wrong_labels_are_found() -> None:
    examples = toy_examples(600)
    wrong = [Example(e.text, e.source, {"sentiment": (1 - e.targets["sentiment"][0],)}) for e in examples[:6]]
    found = {row.text for row in label_errors([*wrong, *examples[6:]], {"sentiment": ["negative", "positive"]}, 60)}
    assert sum(e.text in found for e in wrong) >= 5, "five of six by reading a tenth of the rows"


def predictions(shares: dict[str, int], confidence: float = 0.9) -> list[Prediction]:
    head = Head("sentiment", ("negative", "neutral", "positive"))
    rest = (1 - confidence) / 2
    return [
        Prediction({"sentiment": head}, {"sentiment": np.where(np.array(head.labels) == x, confidence, rest)})
        for x, n in shares.items()
        for _ in range(n)
    ]


def test_drift_is_near_nothing_for_the_same_and_grows_with_the_shift() -> None:
    usual = predictions({"negative": 200, "neutral": 500, "positive": 300})
    then = profile(["hello"] * 1000, usual, 0.01)
    same = distances(then, profile(["hello"] * 1000, usual, 0.01))
    assert all(d.value == 0 for d in same.values())
    bad = profile(["手机坏了"] * 1000, predictions({"negative": 700, "neutral": 200, "positive": 100}, 0.6), 0.2)
    shifted = distances(then, bad)
    assert shifted["classes/sentiment"].low > 0.1
    assert shifted["languages"].value == pytest.approx(1.0)
    assert shifted["confidence/sentiment"].value > 0.9
    assert bad.expected_accuracy["sentiment"] == pytest.approx(0.6)
    told: list[tuple[str, float]] = []
    watch = Watch(then.classes, lambda head, value: told.append((head, value)), every=100)
    watch.add(usual)
    watch.add(predictions({"negative": 3000}))
    assert told[0][1] < 0.01
    assert told[-1][1] > 0.2
