"""Decoding: bytes in, a post or a reason out."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.text import content_hash
from pipeline.classify.codec import decode
from pipeline.classify.subjects import SubjectMatcher
from pipeline.domain.errors import Poison
from pipeline.domain.post import Origin, Post, Record

NOW_MS = 1_790_000_000_000


def record(value: bytes) -> Record:
    return Record(Origin("opinion.news", 0, 1), NOW_MS, value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"\xff\xfe", "not_utf8"),
        (b"[1]", "not_object"),
        (b"{", "not_json"),
        (b"[" * 200 + b"]" * 200, "too_deep"),
        (b'{"source":"a","id":"1","text":"x","v":2}', "unknown_version"),
        (b'{"source":"a","id":"1","text":"\\ud800"}', "lone_surrogate"),
        (b'{"source":"a","id":"1"}', "missing_field"),
        (b'{"source":3,"id":"1","text":"x"}', "wrong_type"),
        (b'{"text":"' + b"x" * 5_000_000 + b'"}', "too_large"),
    ],
)
def test_a_poison_names_its_reason(value: bytes, reason: str) -> None:
    with pytest.raises(Poison) as caught:
        decode(record(value))
    assert caught.value.reason == reason


@given(st.binary(max_size=200))
def test_any_bytes_give_a_post_or_a_poison(value: bytes) -> None:
    try:
        assert isinstance(decode(record(value)), Post)
    except Poison as poison:
        assert poison.stage == "decode"


@pytest.mark.parametrize("when", ["1970-01-01T00:00:00Z", "2099-01-01T00:00:00Z", "yesterday"])
def test_an_implausible_time_falls_back_to_the_record(when: str) -> None:
    post = decode(record(json.dumps({"source": "a", "id": "1", "text": "x", "published_at": when}).encode()))
    assert post.time_suspect
    assert post.event_time.timestamp() * 1000 == NOW_MS


def test_a_repost_has_the_hash_of_its_original() -> None:
    assert content_hash("手机 爆炸了") == content_hash("//@小明:手机 爆炸了 http://t.cn/A1")
    assert content_hash("手机爆炸了") != content_hash("手机很好")


def test_latin_keywords_need_word_borders_and_han_does_not() -> None:
    matcher = SubjectMatcher({"Nova": ["nova", "诺瓦"]})
    assert tuple(matcher.find("The NOVA phone")) == ("Nova",)
    assert tuple(matcher.find("innovation")) == ()
    assert tuple(matcher.find("新诺瓦手机")) == ("Nova",)
