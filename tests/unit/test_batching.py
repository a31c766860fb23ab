"""Batches, subjects and the engine: a label depends on the text alone."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import load_bundle
from models.batching import by_length
from models.engine import OnnxEngine
from pipeline.settings import STARTER
from pipeline.subjects import SubjectMatcher
from training.batches import token_budget_batches

LENGTHS = st.lists(st.integers(1, 200), max_size=80)


@given(LENGTHS, st.integers(1, 400))
def test_serving_batches_keep_each_text_once_and_the_budget(lengths: list[int], budget: int) -> None:
    groups = list(by_length(lengths, budget))
    assert sorted(i for g in groups for i in g) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or max(lengths[i] for i in group) * len(group) <= budget


@given(LENGTHS, st.integers(1, 400), st.integers(0, 5))
def test_training_batches_do_too(lengths: list[int], budget: int, seed: int) -> None:
    batches = token_budget_batches(lengths, budget, seed=seed)
    assert sorted(i for b in batches for i in b) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= budget


def test_many_thousand_keywords_are_found_in_one_pass() -> None:
    subjects = {f"s{i}": [f"brand{i} phone", f"品牌{i}号"] for i in range(20_000)}
    matcher = SubjectMatcher(subjects)
    assert matcher.find("新的品牌777号和BRAND19999  Phone!") == ("s19999", "s777")
    assert matcher.find("brand1 phones") == ()
    with pytest.raises(ValueError, match="Nova"):
        SubjectMatcher({"Nova": ["  "]})


@pytest.fixture(scope="module")
def engine() -> OnnxEngine:
    return load_bundle(STARTER, device="cpu")


def test_labels_do_not_depend_on_batch_mates_or_order(engine: OnnxEngine) -> None:
    """int8 with dynamic ranges: the range is that of the batch, so scores move a little and labels seldom."""
    texts = ["新手机充电时爆炸，太失望了。", "Lovely hotel, friendly staff!", "央行宣布下调存款准备金率。", "ok", ""]
    alone = [engine.predict([t])[0] for t in texts]
    mixed = texts * 3 + ["a much longer text about a football match and its many goals " * 4]
    order = list(range(len(mixed)))
    random.Random(1).shuffle(order)
    together = dict(zip(order, engine.predict([mixed[i] for i in order]), strict=True))
    for i in range(len(texts) * 3):
        one, other = alone[i % len(texts)], together[i]
        assert one.label("sentiment") == other.label("sentiment")
        for label, probability in one.probabilities("sentiment").items():
            assert abs(probability - other.probabilities("sentiment")[label]) < 0.08


def test_the_starter_reads_both_languages(engine: OnnxEngine) -> None:
    cases = {
        "The new phone overheats and support never answers, I want a refund.": "negative",
        "Lovely hotel, friendly staff, we will come back.": "positive",
        "快递太慢，包装破损，客服态度恶劣。": "negative",
        "房间干净，服务热情，下次还会再来。": "positive",
    }
    found = [p.label("sentiment") for p in engine.predict(list(cases))]
    assert found == list(cases.values())
    topics = engine.predict(["央行宣布下调存款准备金率", "国足2比1战胜对手晋级", "NBA finals: Lakers beat Celtics"])
    assert topics[0].label("topic") in {"finance", "stocks"}
    assert [p.label("topic") for p in topics[1:]] == ["sports", "sports"]
