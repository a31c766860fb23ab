"""The verdict on a bulk item is total, and nothing unknown is dropped."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.store.elasticsearch.bulk import ItemVerdict, item_verdicts, verdict

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (200, "", ItemVerdict.WRITTEN),
        (409, "version_conflict_engine_exception", ItemVerdict.CONFLICT),
        (400, "document_parsing_exception", ItemVerdict.REJECTED),
        (400, "illegal_argument_exception", ItemVerdict.FATAL),
        (401, "security_exception", ItemVerdict.FATAL),
        (403, "cluster_block_exception", ItemVerdict.RETRY),
        (404, "index_not_found_exception", ItemVerdict.FATAL),
        (413, "", ItemVerdict.SPLIT),
        (429, "es_rejected_execution_exception", ItemVerdict.RETRY),
        (503, "unavailable_shards_exception", ItemVerdict.RETRY),
        (999, "from the future", ItemVerdict.RETRY),
    ],
)
def test_known_answers(status: int, kind: str, expected: ItemVerdict) -> None:
    assert verdict(status, kind) is expected


@given(JSON, JSON)
def test_any_status_has_a_verdict_and_only_a_mapping_error_is_given_up(status: object, kind: object) -> None:
    try:
        hash(kind)
    except TypeError:
        kind = ""
    got = verdict(status, kind)
    if got is ItemVerdict.REJECTED:
        assert status == 400
    if got is ItemVerdict.WRITTEN:
        assert isinstance(status, int) and 200 <= status < 300


@given(JSON, st.integers(0, 4))
def test_any_response_gives_one_verdict_an_item(response: object, n_items: int) -> None:
    assert len(item_verdicts(response, n_items)) == n_items


def test_a_short_answer_means_that_nothing_is_known() -> None:
    short = {"items": [{"index": {"status": 201}}]}
    assert item_verdicts(short, 2) == [ItemVerdict.RETRY] * 2
    assert item_verdicts({"items": None}, 1) == [ItemVerdict.RETRY]
