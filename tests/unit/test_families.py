"""Families of near-copies: what has a value in common, and what does not."""

from __future__ import annotations

import random
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from models.families import families

_WORDS = st.lists(st.text("abcdefghijklmnopqrstuvwxyz", min_size=6, max_size=9), min_size=9, max_size=25, unique=True)
TEXTS = {
    "en": "My Nova phone caught fire while charging on the kitchen table last night",
    "zh": "诺瓦手机昨晚充电时起火，把厨房的桌子烧坏了，客服不理人",
    "ja": "昨日の夜、充電中にスマホが発火してテーブルが焦げました",
    "ru": "Мой телефон загорелся во время зарядки на кухонном столе",
}


def related(one: str, other: str) -> bool:
    return bool(set(families(one)) & set(families(other)))


@given(st.text(max_size=300))
def test_any_text_has_at_most_three_values(text: str) -> None:
    found = families(text)
    assert len(set(found)) == len(found) <= 3
    assert found == families(text)


@given(_WORDS, st.integers(min_value=0), st.text("zyxwv", min_size=6, max_size=9))
def test_a_text_with_one_word_replaced_is_of_the_same_family(words: list[str], at: int, other: str) -> None:
    changed = list(words)
    changed[at % len(words)] = other
    parts = len(families(" ".join(words)))
    assert related(" ".join(words), " ".join(changed)) or parts < 3


def test_near_copies_are_related_in_every_script() -> None:
    for text in TEXTS.values():
        middle = len(text) // 2
        for copy in (f"{text}!!!", f"RT @someone: {text}", f"{text} https://a.example/b", f"{text} 🔥"):
            assert related(text, copy), copy
        replaced = f"{text[:middle]}{'x' if text.isascii() else '大'}{text[middle + 1 :]}"
        assert related(text, replaced), replaced


def test_different_texts_are_not_related() -> None:
    texts = [*TEXTS.values(), "Nova opens a shop in Oslo on Thursday", "诺瓦手机周四在全国开始发售，价格不变"]
    for i, one in enumerate(texts):
        assert not any(related(one, other) for other in texts[i + 1 :])


def test_a_short_text_has_one_value_of_all_its_words() -> None:
    assert families("很好") == families("很好！") != families("不好")
    assert families("🔥🔥") == ()


@settings(max_examples=20)
@given(st.sampled_from(["a", "诺", "a ", "诺瓦手机 ", "\u0301", "\u200d", "@a ", "//@a:", "�"]))
def test_hostile_texts_take_linear_time(piece: str) -> None:
    started = time.process_time()
    families(piece * (100_000 // len(piece)))
    assert time.process_time() - started < 1.0


def test_unrelated_random_texts_hardly_ever_meet() -> None:
    rng = random.Random(5)
    vocabulary = [f"word{i}" for i in range(2000)]
    texts = [" ".join(rng.choices(vocabulary, k=15)) for _ in range(300)]
    values = [set(families(text)) for text in texts]
    met = sum(bool(a & b) for i, a in enumerate(values) for b in values[i + 1 :])
    assert met == 0
