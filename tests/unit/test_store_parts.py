"""The pure parts of the stores: closed days, verdicts on items, query clauses."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from pipeline.domain.counting import NegativeDefinition, Scope
from pipeline.domain.states import invalidation_key
from pipeline.store.closed_days import day_start, invalidation_tokens, is_closed
from pipeline.store.elasticsearch import queries
from pipeline.store.elasticsearch.bulk import ItemVerdict, first_refusal, item_verdicts
from pipeline.store.elasticsearch.refusals import Refusal, item, read
from tests.builders import START

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
    error = {
        "type": "search_phase_execution_exception", "reason": "all shards failed",
        "root_cause": [{"type": "a", "reason": "no shard"}, {"type": "a", "reason": "no shard"}],
        "caused_by": {"type": "b", "reason": "disk of [opinion-posts-2026.11] is full."},
        "failed_shards": [{"reason": {"type": "c", "reason": "node left"}}],
    }  # fmt: skip
    found = item(503, error)
    assert found.words == "all shards failed; no shard; disk of [opinion-posts-2026.11] is full; node left"
    assert found.index == "opinion-posts-2026.11"
    assert str(found) == f"503: search_phase_execution_exception: {found.words}"
    many = {"type": "t", "reason": "0", "root_cause": [{"reason": str(n)} for n in range(1, 9)]}
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
