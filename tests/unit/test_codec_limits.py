"""Fields of a post at their limits."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipeline.classify.codec import decode
from pipeline.classify.fields import as_text
from pipeline.domain.errors import Poison
from pipeline.domain.post import Origin, Post, Record

NOW = datetime(2026, 9, 21, 14, 13, 20, tzinfo=UTC)
GOOD = {"v": 1, "id": "1", "source": "weibo", "text": "good phone"}


def decoded(stamp: datetime | None = NOW, /, **fields: Any) -> Post:
    stamp_ms = round(stamp.timestamp() * 1000) if stamp else -1
    given = {name: value for name, value in {**GOOD, **fields}.items() if value is not None}
    return decode(Record(Origin("opinion.news", 0, 1), stamp_ms, json.dumps(given).encode()))


def test_a_word_or_a_url_that_is_too_long_is_left_out_and_a_name_is_cut() -> None:
    longest = "gsw-" + "-".join(["abcdefg"] * 4)
    assert (len(longest), decoded(lang=longest).lang, decoded(lang=longest + "x").lang) == (35, longest, "en")
    assert decoded(lang="en" * 18).ignored == ("lang",)
    url = "http://x/" + "y" * 1991
    assert (decoded(url=url).url, decoded(url=url + "y").url) == (url, "")
    assert decoded(author="a" * 201).author == "a" * 200
    assert decoded(id="i" * 501).native_id == "i" * 500
    assert decoded(id="i" * 501).id != decoded(id="i" * 502).id, "what tells posts apart is not cut"
    assert decoded(source="s" * 200).source == "s" * 200


def test_a_text_may_have_a_hundred_thousand_characters() -> None:
    assert len(decoded(text="x" * 100_000).text) == 100_000
    assert len(decoded(title="x" * 100_000).title) == 100_000
    # Composed, one character becomes three.
    with pytest.raises(Poison) as refused:
        decoded(text="\U0001d160" * 40_000)
    assert refused.value.reason == "too_large"


def test_a_time_counts_from_2000_on_and_up_to_an_hour_ahead_of_its_record() -> None:
    ahead = NOW + timedelta(hours=1)
    assert (decoded(published_at=ahead.isoformat()).event_time, decoded().event_time) == (ahead, NOW)
    late = decoded(published_at=(ahead + timedelta(seconds=1)).isoformat())
    assert (late.event_time, late.time_suspect, late.ignored) == (NOW, True, ("published_at",))
    first = decoded(published_at="2000-01-01T00:00:00Z")
    assert (first.event_time, first.time_suspect) == (datetime(2000, 1, 1, tzinfo=UTC), False)
    assert decoded(published_at="1999-12-31T23:59:59Z").event_time == NOW
    assert decoded(None, published_at="2099-12-31T23:59:59Z").event_time.year == 2099
    both = decoded(published_at="2026-09-21T10:00:00Z", created_at="2026-09-21T11:00:00Z")
    assert both.event_time.hour == 10, "the field of the contract goes before"


def test_a_post_is_told_from_others_by_its_id_or_else_its_url() -> None:
    url = "http://x/1"
    assert decoded(id=None, url=url).id == decoded(id=url).id
    assert decoded(id=None, url=url).native_id == ""
    assert decoded(url=url).id == decoded().id
    assert decoded(id="", url=url).id == decoded(id=url).id
    for fields in ({"id": None}, {"id": " "}, {"id": None, "url": 5}, {"id": None, "url": "\ud800"}):
        with pytest.raises(Poison) as refused:
            decoded(**fields)
        assert refused.value.reason == "missing_field"


def test_a_title_alone_is_a_post_and_its_hash_is_of_title_and_text() -> None:
    assert decoded(text=None, title="news").title == "news"
    assert decoded(title="news").content_hash != decoded().content_hash
    with pytest.raises(Poison) as refused:
        decoded(text=None, title=7)
    assert refused.value.reason == "wrong_type", "it is needed where there is no text"


@pytest.mark.parametrize("kind", ["news", "forum", "comment", "review"])
def test_the_kinds_of_the_contract_are_kept(kind: str) -> None:
    assert decoded(kind=kind).kind == kind
    assert decoded(kind=f" {kind.upper()}\n").kind == kind


def test_an_author_is_found_in_either_field() -> None:
    assert decoded(author="ann", author_id="7").author == "ann"
    assert decoded(author_id=7).author == "7"


def test_thirty_two_other_fields_are_kept_in_the_order_of_their_depth() -> None:
    assert list(decoded(**{f"f{n}": n for n in range(40)}).extra) == [f"f{n}" for n in range(32)]
    deep = decoded(extra={"a": {"b": {"c": 1}}, "d": 2}, e=3)
    assert deep.extra == {"e": "3", "d": "2", "a.b.c": "1"}
    assert decoded(extra={"id": "x"}).extra == {"id": "x"}, "a name of the contract is free inside of extra"


def test_names_and_values_of_other_fields_are_cut() -> None:
    assert decoded(**{"n" * 201: "v" * 1001}).extra == {"n" * 200: "v" * 1000}
    assert decoded(**{"n" * 200: "v" * 1000}).extra == {"n" * 200: "v" * 1000}
    assert decoded(x=["手"] * 2).extra == {"x": '["手", "手"]'}
    assert decoded(x="a\u202eb").extra == {"x": "ab"}


def test_a_thousand_values_are_looked_at() -> None:
    empty: dict[str, Any] = {f"f{n}": {} for n in range(999)}
    assert decoded(**empty, last=1).extra == {"last": "1"}
    assert decoded(**empty, more={}, last=1).extra == {}
    inner = decoded(**{f"f{n}": {} for n in range(997)}, box={f"k{n}": n for n in range(9)})
    assert inner.extra == {"box.k0": "0", "box.k1": "1"}


def test_a_number_is_a_text_where_it_is_whole() -> None:
    assert [as_text(v) for v in (7, 7.0, -3, 2.0**52)] == ["7", "7", "-3", str(2**52)]
    others: tuple[Any, ...] = (1.5, True, None, [], 2.0**53, float("nan"))
    assert [as_text(v) for v in others] == [None] * 6


@pytest.mark.parametrize(
    ("written", "count"), [("1,234,567", 1_234_567), ("+5", 5), ("-5", 0), ("1e2", 100), ("007", 7), ("3.", 3)]
)
def test_a_count_is_read_as_people_write_it(written: str, count: int) -> None:
    assert (decoded(likes=written).likes, decoded(likes=written).ignored) == (count, ())


@pytest.mark.parametrize("written", ["12,34", "1,2345", "1e100", " ", "5 ", "x5"])
def test_what_is_no_count_is_named(written: str) -> None:
    post = decoded(likes=written)
    assert (post.likes, post.ignored) == ((5, ()) if written == "5 " else (0, ("likes",)))
