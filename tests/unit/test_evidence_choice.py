"""The posts that an alert shows: strong, different from each other, with what is new, in each language of the rise."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.alerting.alerts.evidence_choice import EXCERPT, choose, excerpt
from pipeline.alerting.alerts.terms import distinctive
from pipeline.domain.post_document import PostDocument, RepostedPost
from tests.builders import START, scored

TEXTS = (
    "battery swelled overnight on the table",
    "battery swelled overnight on the sofa",
    "the shop refuses a refund for the swelled battery",
    "smoke from the charger in my kitchen",
    "still waiting for an answer from support",
    "电池鼓包了，客服让我自己去修",
    "充电的时候冒烟，吓死我了",
    "",
)


def found(*texts: str, families: Sequence[str] = ()) -> list[RepostedPost]:
    posts = [scored(i, text=text or "?", families=families) for i, text in enumerate(texts)]
    return [RepostedPost(PostDocument(post, START + timedelta(hours=1), repost=False), 0) for post in posts]


def texts_of(posts: Sequence[RepostedPost]) -> list[str]:
    return [post.document.post.text for post in posts]


def test_a_near_copy_is_shown_once_and_what_is_new_comes_before_what_is_strong() -> None:
    shown = choose(found(*TEXTS[:5]), ["smoke", "refund"], 3)
    assert texts_of(shown) == [TEXTS[2], TEXTS[3], TEXTS[0]]


def test_posts_of_one_family_are_one_quote_however_different_their_words_are() -> None:
    posts = found("a phone that burns", "it was the charger all along")
    of_one_family = [
        RepostedPost(PostDocument(p.document.scored._replace(families=("f", str(i))), START, repost=False), 0)
        for i, p in enumerate(posts)
    ]
    assert (len(choose(posts, [], 5)), len(choose(of_one_family, [], 5))) == (2, 1)


def test_a_language_with_a_tenth_of_the_posts_has_a_quote_and_one_with_less_may_have_none() -> None:
    english = [f"{a} {b} {a}{b} broke" for a in ("red", "blue", "green") for b in ("phone", "laptop", "watch")]
    assert texts_of(choose(found(*english, TEXTS[5]), [], 2))[1] == TEXTS[5]
    assert TEXTS[5] not in texts_of(choose(found(*english, *(w * 3 for w in english), TEXTS[5]), [], 2))


@given(st.lists(st.sampled_from(TEXTS), max_size=12), st.integers(0, 6))
def test_a_choice_is_a_part_of_the_posts_without_near_copies(texts: list[str], most: int) -> None:
    posts = found(*texts)
    terms = distinctive(texts, TEXTS)
    shown = choose(posts, terms, most)
    assert len(shown) <= most
    assert len({post.document.id for post in shown}) == len(shown)
    assert all(post in posts for post in shown)
    assert len(set(texts_of(shown))) == len(shown)
    assert not {TEXTS[0], TEXTS[1]} <= set(texts_of(shown))
    assert shown == choose(posts, terms, most)
    if posts and most:
        assert shown


@given(st.lists(st.sampled_from(TEXTS[:7]), min_size=1, max_size=9))
def test_each_language_that_takes_part_is_quoted(texts: list[str]) -> None:
    posts = found(*texts)
    languages = {post.document.post.lang for post in posts}
    assert {post.document.post.lang for post in choose(posts, [], 5)} == languages


@pytest.mark.parametrize("at", [0, 200, 219, 220, 400, 1000])
def test_an_excerpt_holds_the_first_distinctive_term(at: int) -> None:
    text = "x" * at + " battery " + "y" * 500
    shown = excerpt("", text, ["refund", "battery"])
    assert "battery" in shown
    assert len(shown) <= EXCERPT


@given(st.text(max_size=400), st.text(max_size=700), st.lists(st.text(min_size=1, max_size=5), max_size=3))
def test_an_excerpt_is_a_part_of_the_post_of_bounded_length(title: str, text: str, terms: list[str]) -> None:
    assert len(excerpt(title, text, terms)) <= EXCERPT
