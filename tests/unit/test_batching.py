"""Batches, subjects and the engine: a label depends on the text alone."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import load_bundle
from models.batching import FEW_SHAPES, balance_batches, by_length
from models.engine import OnnxEngine
from pipeline.classify.subjects import SubjectMatcher
from pipeline.settings import STARTER
from training.data.batches import token_budget_batches

LENGTHS = st.lists(st.integers(1, 200), max_size=80)


@given(LENGTHS, st.integers(1, 400))
def test_serving_batches_keep_each_text_once_and_the_budget(lengths: list[int], budget: int) -> None:
    groups = list(by_length(lengths, budget))
    assert sorted(i for g in groups for i in g) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or max(lengths[i] for i in group) * len(group) <= budget


@given(LENGTHS, st.integers(1, 400))
def test_batches_of_few_shapes_do_too(lengths: list[int], budget: int) -> None:
    widths = [FEW_SHAPES.width(n) for n in lengths]
    groups = list(by_length(widths, budget, FEW_SHAPES.rows))
    assert sorted(i for g in groups for i in g) == list(range(len(lengths)))
    for group in groups:
        assert FEW_SHAPES.rows(len(group)) == len(group)
        assert len(group) == 1 or max(widths[i] for i in group) * len(group) <= budget


def test_the_shapes_are_few_whatever_comes() -> None:
    widths = {FEW_SHAPES.width(n) for n in range(1, 129)}
    rows = {FEW_SHAPES.rows(n) for n in range(1, 1025)}
    assert all(FEW_SHAPES.width(n) >= n for n in range(1, 1000))
    assert all(1 <= FEW_SHAPES.rows(n) <= n for n in range(1, 1000))
    assert sum(w * r <= 1024 or r == 1 for w in widths for r in rows) <= 160


@given(LENGTHS, st.integers(1, 400), st.integers(1, 8))
def test_groups_shared_by_streams_do_too_and_leave_none_idle(lengths: list[int], budget: int, streams: int) -> None:
    plain, groups = list(by_length(lengths, budget)), balance_batches(lengths, budget, streams)
    assert sorted(i for g in groups for i in g) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or max(lengths[i] for i in group) * len(group) <= budget
    turns = -(-len(plain) // streams)
    assert -(-len(groups) // streams) == turns, "no stream has more to do than it had"
    assert len(groups) in {len(plain), min(len(lengths), turns * streams)}


@given(LENGTHS, st.integers(1, 400), st.integers(0, 5))
def test_training_batches_do_too(lengths: list[int], budget: int, seed: int) -> None:
    batches = token_budget_batches(lengths, budget, seed=seed)
    assert sorted(i for b in batches for i in b) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= budget


def test_many_thousand_keywords_are_found_in_one_pass() -> None:
    subjects = {f"s{i}": [f"brand{i} phone", f"品牌{i}号"] for i in range(20_000)}
    matcher = SubjectMatcher(subjects)
    assert tuple(matcher.find("新的品牌777号和BRAND19999  Phone!")) == ("s19999", "s777")
    assert tuple(matcher.find("brand1 phones")) == ()
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


CHINESE = [
    ("国足2比1战胜对手晋级", ["sports"]),
    ("女排三比零横扫日本队夺冠", ["sports"]),
    ("央行宣布下调存款准备金率", ["finance", "stocks"]),
    ("沪指收盘跌破三千点，券商股领跌", ["finance", "stocks"]),
    ("新款电动车上市，续航六百公里", ["autos"]),
    ("二手房成交量环比下降两成", ["realty"]),
    ("高考作文题目公布，考生热议", ["education"]),
    ("新手机电池发烫，充电时关机", ["consumer", "technology"]),
    ("这部电影票房突破十亿，导演致谢观众", ["entertainment"]),
    ("新赛季英雄联盟职业联赛开打", ["games", "sports"]),
    ("外交部发言人就中美会谈答记者问", ["politics"]),
    ("导弹驱逐舰完成海上实弹演练", ["military", "politics"]),
    ("酒店房间干净，早餐丰富", ["travel"]),
    ("今年小麦喜获丰收，农民忙收割", ["agriculture"]),
    ("外卖送来的饭菜是凉的，不会再点", ["consumer"]),
    ("大学食堂涨价，学生抱怨", ["consumer", "education", "society"]),
]
ENGLISH = [
    ("NBA finals: Lakers beat Celtics", ["sports"]),
    ("Federer wins his eighth Wimbledon title", ["sports"]),
    ("Parliament votes on the budget on Thursday", ["politics"]),
    ("The president meets European leaders in Brussels", ["politics"]),
    ("Shares fall as oil prices climb", ["finance", "stocks"]),
    ("The central bank raises interest rates again", ["finance", "stocks"]),
    ("My phone overheats while charging and shuts down", ["consumer", "technology"]),
    ("The new laptop has a terrible battery", ["consumer", "technology"]),
    ("Microsoft releases a security update for Windows", ["technology"]),
    ("NASA launches a probe to Mars", ["technology"]),
    ("The hotel room was clean and breakfast was great", ["travel"]),
    ("My flight was cancelled and the airline lost my bag", ["consumer", "travel"]),
    ("The new SUV drives well but uses too much fuel", ["autos"]),
    ("The movie made a hundred million at the box office", ["entertainment"]),
    ("Support never answers, I want a refund", ["consumer", "technology"]),
    ("Two soldiers killed in roadside bombing", ["military", "politics", "society"]),
]


def test_the_starter_reads_both_languages(engine: OnnxEngine) -> None:
    cases = {
        "The new phone overheats and support never answers, I want a refund.": "negative",
        "Lovely hotel, friendly staff, we will come back.": "positive",
        "快递太慢，包装破损，客服态度恶劣。": "negative",
        "房间干净，服务热情，下次还会再来。": "positive",
    }
    found = [p.label("sentiment") for p in engine.predict(list(cases))]
    assert found == list(cases.values())


@pytest.mark.parametrize("texts", [CHINESE, ENGLISH], ids=["zh", "en"])
def test_the_starter_knows_the_topic_of_most_plain_sentences(
    engine: OnnxEngine, texts: list[tuple[str, list[str]]]
) -> None:
    """All but the first of each were written before a model was asked: 0.6.0 gets 15 and 14, 0.7.0 to 0.10.0 all."""
    found = [p.label("topic") for p in engine.predict([text for text, _ in texts])]
    assert sum(topic in right for topic, (_, right) in zip(found, texts, strict=True)) >= 13
