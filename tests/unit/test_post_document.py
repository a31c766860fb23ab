"""The JSON of indexed posts: what this release writes, and what it reads of others."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.post import Origin, Post, ScoredPost, Toward
from pipeline.domain.post_document import PostDocument
from pipeline.domain.toward_keywords import bin_keyword, binned, bins_from, label_keyword, read_bin

BODY: dict[str, Any] = {
    "@timestamp": "2026-11-23T13:05:00+00:00",
    "ingested_at": "2026-11-23T13:05:02.500000+00:00",
    "id": "49021",
    "source": "weibo",
    "kind": "forum",
    "url": "https://weibo.example/49021",
    "title": "电池",
    "text": "又坏了",
    "author": "小明",
    "lang": "zh",
    "content_hash": "3f",
    "repost": False,
    "time_suspect": False,
    "topic": "technology",
    "topic_score": 0.9,
    "sentiment": "negative",
    "sentiment_score": 0.7501,
    "negative_score": 0.7501,
    "labels": {"topic": "technology", "sentiment": "negative"},
    "scores": {"topic": 0.9, "sentiment": 0.7501},
    "subjects": ["Nova"],
    "engagement": {"reposts": 3, "likes": 10, "comments": 2},
    "model": {"name": "starter", "version": "0.11.0"},
    "origin": {"topic": "opinion.forum", "partition": 1, "offset": 7},
    "corrected": False,
    "extra": {"mood": "calm"},
}
times = st.datetimes(timezones=st.just(UTC))
names = st.text(max_size=6)
scores = st.dictionaries(st.sampled_from(["topic", "sentiment", "intent"]), st.floats(0, 1).map(lambda x: round(x, 4)))
posts = st.builds(
    Post,
    *[names] * 9,
    times,
    st.booleans(),
    names,
    *[st.integers(0, 2**53)] * 3,
    st.dictionaries(names, names),
    st.builds(Origin, names, st.integers(0, 99), st.integers(0, 2**53)),
    ignored=st.just(()),
)
probabilities = st.floats(0, 1).map(lambda x: round(x, 4))
documents = st.builds(
    PostDocument,
    st.builds(
        ScoredPost,
        posts,
        st.dictionaries(st.sampled_from(["topic", "sentiment", "intent"]), names.filter(bool)),
        scores,
        probabilities,
        st.lists(names, unique=True).map(tuple),
        names,
        names,
        st.just({}),
        st.lists(names, max_size=3).map(tuple),
    ),
    times,
    st.booleans(),
    st.booleans(),
)
judgements = st.builds(Toward, names, probabilities, probabilities, st.booleans())


def test_a_document_of_0_11_0_is_written_again_as_it_was_read() -> None:
    document = PostDocument.from_json("5c", BODY)
    assert (document.id, document.post.full_text, document.topic) == ("5c", "电池\n又坏了", "technology")
    assert (document.model, document.post.event_time) == ("starter 0.11.0", datetime(2026, 11, 23, 13, 5, tzinfo=UTC))
    assert json.dumps(document.to_json()) == json.dumps(BODY)


@given(documents)
def test_what_is_written_is_read_back(document: PostDocument) -> None:
    assert PostDocument.from_json(document.id, json.loads(json.dumps(document.to_json()))) == document


@given(documents, st.data())
def test_the_sentiment_toward_each_subject_is_read_back_and_its_keywords_name_it(
    document: PostDocument, data: st.DataObject
) -> None:
    toward = {subject: data.draw(judgements) for subject in document.scored.subjects}
    judged = replace(document, scored=document.scored._replace(toward=toward))
    body = json.loads(json.dumps(judged.to_json()))
    assert PostDocument.from_json(document.id, body) == judged
    bins = [(subject, t.label, binned(t.negative_score)) for subject, t in toward.items()]
    assert [tuple(read_bin(keyword)) for keyword in body.get("toward_bins", [])] == bins
    assert body.get("toward_labels", []) == [label_keyword(subject, t.label) for subject, t in toward.items()]


def test_a_subject_that_no_model_judged_has_the_sentiment_of_the_whole_text() -> None:
    document = PostDocument.from_json("5c", {**BODY, "subjects": ["Nova", "Kestrel"]})
    calm = Toward("neutral", 0.80001, 0.10004)
    judged = replace(document, scored=document.scored._replace(toward={"Kestrel": calm, "Orion": calm}))
    body = judged.to_json()
    assert body["toward"] == [
        {"subject": "Nova", "label": "negative", "score": 0.7501, "negative_score": 0.7501, "whole_text": True},
        {"subject": "Kestrel", "label": "neutral", "score": 0.8, "negative_score": 0.1, "whole_text": False},
    ]
    assert body["toward_labels"] == ["Nova=negative", "Kestrel=neutral"]
    assert body["toward_bins"] == ["Nova=negative=0.75", "Kestrel=neutral=0.10"]


@given(names, names, st.floats(0, 1))
def test_a_keyword_says_subject_class_and_score_whatever_their_characters(
    subject: str, label: str, score: float
) -> None:
    found = read_bin(bin_keyword(subject, label, score))
    assert (found.subject, found.label) == (subject, label)
    assert abs(found.score - score) <= 0.025 + 1e-9
    assert found.score in bins_from(found.score)


def test_fields_of_a_newer_release_stay_in_the_document() -> None:
    newer = {**BODY, "sarcasm": {"score": 0.5}}
    document = replace(PostDocument.from_json("5c", newer), corrected=True)
    assert document.to_json() == {**newer, "corrected": True}


def test_a_document_without_scores_has_those_of_its_topic_and_sentiment() -> None:
    old: dict[str, Any] = {k: v for k, v in BODY.items() if k != "scores"}
    assert PostDocument.from_json("5c", old).scores == {"topic": 0.9, "sentiment": 0.7501}
    intent = {**old, "labels": {"intent": "refund"}, "topic": "", "sentiment": "", "topic_score": 0.0}
    assert PostDocument.from_json("5c", intent).scores == {}


def test_the_index_keeps_four_decimals() -> None:
    exact = PostDocument.from_json("5c", {**BODY, "negative_score": 0.123456, "scores": {"topic": 0.99999}})
    body = exact.to_json()
    assert (body["negative_score"], body["scores"], body["topic_score"]) == (0.1235, {"topic": 1.0}, 1.0)


@pytest.mark.parametrize("field", ["@timestamp", "ingested_at", "source"])
def test_a_document_without_time_or_source_is_none(field: str) -> None:
    with pytest.raises(KeyError):
        PostDocument.from_json("5c", {k: v for k, v in BODY.items() if k != field})
