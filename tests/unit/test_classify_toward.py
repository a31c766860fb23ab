"""The classify stage: subjects before the model, and predictions that are shared only where the mentions agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from models import load_bundle
from models.engine import Encoded
from models.heads import Prediction, TargetPrediction
from models.text import clean, content_hash
from pipeline.classify.named_post import prediction_key
from pipeline.classify.stage import ClassifyStage
from pipeline.classify.subjects import SubjectMatcher
from pipeline.domain.counting import NegativeDefinition
from pipeline.domain.errors import Poison
from pipeline.domain.metrics import Metrics
from pipeline.domain.post import ScoredPost, Toward
from tests.builders import DummyClassifier, record
from tests.toy_bundle import toy_bundle

SUBJECTS = SubjectMatcher({"Nova": ["nova"], "Kestrel": ["kestrel"]})


class ByPlace(DummyClassifier):
    """Says of each subject where its first mention is, and counts the texts that it infers."""

    def infer(self, encoded: Encoded) -> list[Prediction]:
        found = super().infer(encoded)
        for prediction, mentions in zip(found, encoded.mentions, strict=True):
            prediction.toward = {
                subject: TargetPrediction(
                    "negative" if spans[0][0] < 5 else "positive", 0.7, {"negative": spans[0][0] / 100}
                )
                for subject, spans in mentions.items()
            }
        return found


def a_stage(classifier: DummyClassifier, counting: NegativeDefinition | None = None) -> ClassifyStage:
    metrics = Metrics(CollectorRegistry())
    return ClassifyStage(classifier, SUBJECTS, counting or NegativeDefinition(), metrics, 1 << 20)


def classified(stage: ClassifyStage, texts: Sequence[str]) -> list[ScoredPost]:
    records = [record(i, text=text) for i, text in enumerate(texts)]
    found = [item for _, item in stage.finish(stage.infer(stage.prepare(records)))]
    assert not [item for item in found if isinstance(item, Poison)]
    return [item for item in found if isinstance(item, ScoredPost)]


def test_each_subject_of_a_post_gets_its_own_sentiment() -> None:
    (post,) = classified(a_stage(ByPlace()), ["Nova beats the Kestrel"])
    assert post.subjects == ("Kestrel", "Nova")
    assert post.toward == {"Nova": Toward("negative", 0.7, 0.0), "Kestrel": Toward("positive", 0.7, 0.15)}


def test_a_model_without_the_head_leaves_the_sentiment_of_the_whole_text() -> None:
    (post,) = classified(a_stage(DummyClassifier()), ["bad Nova"])
    label, score, negative, whole_text = post.toward["Nova"]
    assert (label, whole_text) == ("negative", True)
    assert (score, negative) == (post.scores["sentiment"], post.negative_score)


def test_negative_toward_a_subject_is_what_counts_as_negative() -> None:
    both = NegativeDefinition(negative=("negative", "neutral"))
    assert classified(a_stage(ByPlace(), both), ["no, not Nova"])[0].toward["Nova"].negative_score == pytest.approx(
        0.08
    )
    topics = NegativeDefinition(head="topic", negative=("sports",))
    assert classified(a_stage(ByPlace(), topics), ["no, not Nova"])[0].toward["Nova"].negative_score == 0.08


def test_reposts_share_a_prediction_and_texts_with_other_mentions_do_not() -> None:
    classifier = ByPlace()
    stage = a_stage(classifier)
    reposts = ["Nova is out", "RT @bob: Nova  is out", "//@小明:NOVA is out http://t.cn/A1", "Ｎｏｖａ is out"]
    assert len({content_hash(clean(text)) for text in reposts}) == 1
    assert {post.toward["Nova"].label for post in classified(stage, reposts)} == {"negative"}
    assert len(classifier.texts) == 1
    # The hash ignores handles and case, and the search ignores handles and splits only camel case.
    moved = ["the nova nova", "the #novaphone and nova", "the #NovaPhone and nova"]
    assert content_hash(moved[1]) == content_hash(moved[2])
    classified(stage, moved)
    assert len(classifier.texts) == 4
    classified(stage, [*moved, *reposts])
    assert len(classifier.texts) == 4, "both batches are cached"


_WORDS = st.lists(
    st.sampled_from(["nova", "Kestrel", "is", "坏了", "，", "#NovaPhone", "http://x.y", "e\u0301"]), max_size=9
)
_BEFORE = st.sampled_from(["", "RT @bob: ", "//@小明:", "转发微博 ", "  ", "RT @a: RT @b: "])


@given(_WORDS, _BEFORE)
def test_the_key_of_a_repost_is_the_key_of_what_it_repeats(words: list[str], before: str) -> None:
    one, other = clean(" ".join(words)), clean(before + " ".join(words))
    hashes = {content_hash(one), content_hash(other)}
    keys = {prediction_key("", text, SUBJECTS.find(text)) for text in (one, other)}
    assert len(keys) == 1 or len(hashes) == 2


Spans = Mapping[str, tuple[tuple[int, int], ...]]


@given(st.lists(st.sampled_from("ab c"), min_size=4, max_size=12).map("".join), st.data())
@example("aaaa", None)
def test_other_places_or_subjects_have_another_key(text: str, data: st.DataObject | None) -> None:
    one: Spans = {"s": ((0, 2),)}
    others: list[Spans] = [{}, {"t": ((0, 2),)}, {"s": ((0, 2),), "t": ((0, 2),)}, {"s": ((0, 2), (2, 4))}]
    if not text[:4].isspace() and " " not in text[:4]:
        others.append({"s": ((2, 4),)})
    keys = [prediction_key("", text, mentions) for mentions in (one, *others)]
    assert len(set(keys)) == len(keys)


def test_a_text_with_private_characters_does_not_pass_for_a_mention() -> None:
    marked = "\U000f0000nova\U000f0000 is out"
    assert content_hash(marked) != content_hash("nova is out")
    keys = {prediction_key(content_hash(text), text, SUBJECTS.find(text)) for text in ("nova is out", marked)}
    assert len(keys) == 2


def test_a_bug_in_the_search_costs_only_its_post(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = SubjectMatcher.find

    def find(self: SubjectMatcher, text: str) -> object:
        if "trap" in text:
            raise ValueError("a bug")
        return plain(self, text)

    monkeypatch.setattr(SubjectMatcher, "find", find)
    stage = a_stage(ByPlace())
    records = [record(i, text="a trap" if i == 3 else f"Nova {i}") for i in range(6)]
    found = [item for _, item in stage.finish(stage.infer(stage.prepare(records)))]
    assert [getattr(item, "stage", "") for item in found] == ["", "", "", "subjects", "", ""]


def test_a_bundle_with_the_head_judges_posts_from_end_to_end(tmp_path: Path) -> None:
    engine = load_bundle(toy_bundle(tmp_path), device="cpu")
    stage = ClassifyStage(engine, SUBJECTS, NegativeDefinition(), Metrics(CollectorRegistry()), 1 << 20)
    texts = ["Nova is terrible, but honestly I think that Kestrel is great", "good", "kestrel http://nova.com/ is bad"]
    left, plain, link = classified(stage, texts)
    assert {subject: toward.label for subject, toward in left.toward.items()} == {
        "Nova": "negative",
        "Kestrel": "positive",
    }
    assert left.toward["Nova"].negative_score > 0.5 > left.toward["Kestrel"].negative_score
    assert plain.toward == {}
    assert list(link.toward) == ["Kestrel"]
