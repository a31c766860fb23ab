"""The pure parts of the stores: closed days, verdicts on items, query clauses."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from pipeline.domain.alert import Alert
from pipeline.domain.counting import NegativeDefinition, Scope
from pipeline.domain.errors import Transient
from pipeline.domain.states import invalidation_key
from pipeline.store.closed_days import day_start, invalidation_tokens, is_closed
from pipeline.store.elasticsearch import queries
from pipeline.store.elasticsearch.bulk import ItemVerdict, first_refusal, item_verdicts
from pipeline.store.elasticsearch.refusals import Refusal, item, read, refused
from pipeline.store.elasticsearch.templates import Layout, layout_of, templates
from tests.builders import START, as_dict

DAY = date(2026, 11, 21)
END = datetime(2026, 11, 22, tzinfo=UTC)


def test_a_day_is_cached_from_two_days_after_its_end_and_invalidated_from_one() -> None:
    assert day_start(DAY) == END - timedelta(days=1)
    assert is_closed(DAY, END + timedelta(days=2))
    assert not is_closed(DAY, END + timedelta(days=2) - timedelta(seconds=1))
    times = [END - timedelta(hours=1)]
    assert invalidation_tokens(times, END + timedelta(days=1) - timedelta(seconds=1)) == {}
    first = invalidation_tokens(times, END + timedelta(days=1))
    assert list(first) == [invalidation_key(DAY)]
    again = invalidation_tokens(times, END + timedelta(days=1))
    assert first != again, "each write gives a token of its own"


def test_each_day_of_posts_has_one_token_and_days_are_those_of_utc() -> None:
    east = timezone(timedelta(hours=8))
    times = [datetime(2026, 11, 22, 3, tzinfo=east), END - timedelta(hours=9), END + timedelta(hours=1)]
    found = invalidation_tokens(times, END + timedelta(days=9))
    assert list(found) == [invalidation_key(DAY), invalidation_key(DAY + timedelta(days=1))]


def items(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"items": [{"index": entry} for entry in entries]}


def test_items_that_no_index_takes_are_told_from_those_that_were_not_there() -> None:
    immense = {"status": 400, "error": {"type": "illegal_argument_exception", "reason": "immense term in field"}}
    other = {"status": 400, "error": {"type": "illegal_argument_exception", "reason": "another reason"}}
    shards = {"status": 400, "error": {"type": "validation_exception", "reason": "too many shards"}}
    gone, created = {"status": 404, "result": "not_found"}, {"status": 201}
    assert item_verdicts(items(immense, other, shards, gone, created), 5) == [
        ItemVerdict.REJECTED, ItemVerdict.FATAL, ItemVerdict.RETRY, ItemVerdict.CONFLICT, ItemVerdict.WRITTEN,
    ]  # fmt: skip
    late = {"status": 429, "error": {"type": "mapper_parsing_exception", "reason": "immense term"}}
    assert item_verdicts(items(late), 1) == [ItemVerdict.RETRY], "the status decides before the reason"
    assert item_verdicts({"items": [{"index": {"status": 201}, "create": {}}]}, 1) == [ItemVerdict.RETRY]
    assert item_verdicts(items({"status": 400, "error": {"type": 5}}), 1) == [ItemVerdict.FATAL]


def test_the_first_item_with_a_verdict_says_why() -> None:
    bad = {"status": 400, "error": {"type": "illegal_argument_exception", "reason": "first"}}
    worse = {"status": 400, "error": {"type": "illegal_argument_exception", "reason": "second"}}
    response = items({"status": 201}, bad, worse)
    verdicts = item_verdicts(response, 3)
    assert first_refusal(response, verdicts, ItemVerdict.FATAL) == Refusal(400, "illegal_argument_exception", "first")
    assert first_refusal(response, verdicts, ItemVerdict.RETRY) is None
    assert first_refusal(response, verdicts, ItemVerdict.WRITTEN) is None
    assert first_refusal({"items": None}, verdicts, ItemVerdict.FATAL) is None
    unnumbered = items({"error": {"type": "x", "reason": "y"}})
    assert first_refusal(unnumbered, [ItemVerdict.RETRY], ItemVerdict.RETRY) == Refusal(0, "x", "y")


def test_a_refusal_has_its_reasons_once_and_the_index_that_they_name() -> None:
    error: dict[str, Any] = {
        "type": "search_phase_execution_exception", "reason": "all shards failed",
        "root_cause": [{"type": "a", "reason": "no shard"}, {"type": "a", "reason": "no shard"}],
        "caused_by": {"type": "b", "reason": "disk of [opinion-posts-2026.11] is full."},
        "failed_shards": [{"reason": {"type": "c", "reason": "node left"}}],
    }  # fmt: skip
    found = item(503, error)
    assert found.words == "all shards failed; no shard; disk of [opinion-posts-2026.11] is full; node left"
    assert found.index == "opinion-posts-2026.11"
    assert str(found) == f"503: search_phase_execution_exception: {found.words}"
    many: dict[str, Any] = {"type": "t", "reason": "0", "root_cause": [{"reason": str(n)} for n in range(1, 9)]}
    assert item(400, many).words == "0; 1; 2; 3"


def test_reasons_are_looked_for_four_levels_deep() -> None:
    error: dict[str, Any] = {"reason": "level 6"}
    for level in range(5, 0, -1):
        error = {"reason": "" if level < 5 else f"level {level}", "caused_by": error}
    assert item(400, error).words == "level 5"


def test_a_page_is_read_without_its_markup() -> None:
    page = "<html><head><style>h1 {color: red}</style></head><body><h1>502</h1> Bad\n Gateway</body></html>"
    assert read(502, page) == Refusal(502, "", "502 Bad Gateway")
    assert len(read(502, "x" * 500).words) == 160
    assert read(400, {"error": "no handler"}) == Refusal(400, "", "no handler")
    assert read(500, None) == read(500, {"error": None}) == Refusal(500, "", "")


def test_clauses_name_what_a_key_stands_for() -> None:
    end = START + timedelta(hours=1)
    span = {"range": {"@timestamp": {"gte": START.isoformat(), "lt": end.isoformat()}}}
    sure = NegativeDefinition(negative=("negative", "angry"), score_from=0.6)
    labelled = {"terms": {"labels.sentiment": ["negative", "angry"]}}
    assert queries.negative(NegativeDefinition()) == {"terms": {"labels.sentiment": ["negative"]}}
    assert queries.negative(sure) == {"bool": {"filter": [labelled, {"range": {"negative_score": {"gte": 0.6}}}]}}
    assert queries.negative(NegativeDefinition(negative=())) == {"match_all": {}}
    clauses = [span, {"term": {"repost": False}}, {"match_all": {}}]
    everything = NegativeDefinition(negative=())
    for scope, more in (
        (Scope(), []),
        (Scope("t"), [{"term": {"topic": "t"}}]),
        (Scope("t", "s", "x"), [{"term": {"topic": "t"}}, {"term": {"subjects": "s"}}, {"term": {"source": "x"}}]),
    ):
        assert queries.evidence(scope, START, end, everything) == {"bool": {"filter": [*clauses, *more]}}


@pytest.mark.parametrize("depth", [1, 2])
def test_an_error_of_a_document_never_repeats_its_words(depth: int) -> None:
    error: dict[str, Any] = {"type": "document_parsing_exception", "reason": "failed to parse field [topic]: secret"}
    if depth == 2:
        error = {"type": "wrapped", "reason": "secret", "caused_by": error, "index": "opinion-posts-2026.11"}
    found = item(400, error)
    assert "secret" not in str(found)
    assert found.words == ("field topic" if depth == 1 else "")
    assert found.index == ("opinion-posts-2026.11" if depth == 2 else "")


def test_the_fields_of_a_post_have_the_types_that_analysts_query() -> None:
    posts = as_dict(templates("ik_smart", 2, Layout("month"))["opinion-posts"].properties)
    keyword, score = {"type": "keyword", "ignore_above": 1024}, {"type": "float"}
    names = ("id", "source", "kind", "url", "author", "lang", "topic", "sentiment", "subjects")
    assert {name: posts[name] for name in names} == dict.fromkeys(names, keyword)
    assert {n: posts[n]["type"] for n in ("@timestamp", "ingested_at")} == {"@timestamp": "date", "ingested_at": "date"}
    assert [posts[n] for n in ("topic_score", "sentiment_score", "negative_score")] == [score] * 3
    assert [posts[n]["type"] for n in ("repost", "time_suspect", "corrected")] == ["boolean"] * 3
    assert [posts[n] for n in ("title", "text")] == [{"type": "text", "analyzer": "ik_smart"}] * 2
    assert [posts[n]["type"] for n in ("labels", "scores", "extra")] == ["flattened"] * 3


def test_what_is_only_shown_of_an_alert_is_not_indexed() -> None:
    alerts = as_dict(templates("standard", 2, Layout("month"))["opinion-alerts"].properties)
    shown = ("spread", "series", "last_hour", "evidence")
    assert [alerts[name] for name in shown] == [{"type": "object", "enabled": False}] * 4
    assert alerts["query"] == {"type": "keyword", "index": False, "doc_values": False}
    assert {alerts[name]["type"] for name in ("started_at", "updated_at", "resolved_at")} == {"date"}


def test_templates_are_strict_and_hold_what_setup_must_know_again() -> None:
    found = templates("standard", 2, Layout("day", date(2026, 9, 1)))
    assert set(found) == {"opinion-posts", "opinion-alerts", "opinion-labels", "opinion-originals", "opinion-state"}
    for name, template in found.items():
        body = as_dict(template.body)
        assert body["mappings"]["dynamic"] == "strict"
        assert body["settings"]["number_of_replicas"] == 2
        assert template.pattern == (f"{name}-*" if name == "opinion-posts" else name)
    assert found["opinion-posts"].body["aliases"] == {"opinion-posts": {}}
    assert layout_of(found["opinion-posts"].meta) == Layout("day", date(2026, 9, 1))
    assert layout_of(templates("standard", 0, Layout("hour"))["opinion-posts"].meta) == Layout("hour")


@pytest.mark.parametrize(
    ("status", "kind", "reason", "wait_s"),
    [
        (413, "x", "too large", 5.0), (400, "validation_exception", "maximum normal shards open", 5.0),
        (400, "index_closed_exception", "closed", 5.0), (403, "cluster_block_exception", "blocked", 1.0),
        (404, "search_context_missing_exception", "gone", 1.0), (429, "x", "busy", 1.0), (503, "x", "y", 1.0),
    ],
)  # fmt: skip
def test_how_long_a_refusal_is_waited_for(status: int, kind: str, reason: str, wait_s: float) -> None:
    error = refused("http://es:9200", item(status, {"type": kind, "reason": reason}))
    assert isinstance(error, Transient)
    assert error.retry_after_s == wait_s


def test_an_alert_is_replaced_by_its_successor_or_by_one_that_is_as_far_along() -> None:
    def replaces(there: dict[str, Any], new: dict[str, Any]) -> bool:
        old, other = (Alert.from_json("a", {"started_at": START.isoformat(), **each}) for each in (there, new))
        return other.may_replace(old)

    assert replaces({"revision": 3}, {"revision": 4})
    assert not replaces({"revision": 4}, {"revision": 4})
    assert replaces({}, {"revision": 1}), "what an older release wrote has no revision"
    assert not replaces({}, {"revision": 0})
    assert replaces({"sequence": 1}, {"sequence": 1})
    assert not replaces({"sequence": 2}, {"sequence": 1})
    assert replaces({}, {"sequence": 0})
    assert replaces({"sequence": 0}, {})
    assert not replaces({"sequence": 1}, {})
    assert not replaces({"revision": 1}, {"sequence": 9}), "an older release does not undo what a newer one wrote"
    assert replaces({"sequence": 1, "pending": ["x"]}, {"sequence": 1})
    assert not replaces({"sequence": 1}, {"sequence": 1, "pending": ["x"]})
