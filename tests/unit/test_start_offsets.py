"""From where a partition is read: nothing that may be unread is passed over, and what is gone is said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from pipeline.classify.start_offsets import StartOffsets
from pipeline.domain.errors import Fatal
from pipeline.domain.ledger import Ledger
from pipeline.domain.metrics import Metrics
from pipeline.domain.progress import Progress
from pipeline.kafka.start_offset import PartitionBounds, start_offset
from tests.builders import START

OFFSET = st.integers(0, 60)
PLACE = ("t", 0)


@given(st.none() | OFFSET, OFFSET, OFFSET, st.none() | OFFSET, st.booleans())
def test_nothing_that_is_there_and_unread_is_passed_over(
    committed: int | None, one: int, other: int, books: int | None, closed: bool
) -> None:
    begin, end = sorted([one, other])
    start = start_offset(PartitionBounds(committed, begin, end), recorded=None if closed else books, replaced=closed)
    assert begin <= start.offset
    known = [] if closed else [n for n in (committed, books) if n is not None]
    durable = max(known, default=0)
    assert start.offset <= max(begin, durable), "what lies between was read, or is gone"
    if committed is not None and begin <= committed <= end and not closed:
        assert start.offset == committed, "a group whose offsets an operator moves is followed"
    if known and durable < begin and not closed:
        assert start.deleted == begin - durable
    elif start.offset > begin or closed:
        assert start.deleted == 0


def placed(
    choice: str, bounds: PartitionBounds, *rows: Progress
) -> tuple[StartOffsets, dict[tuple[str, int], int], Metrics]:
    metrics = Metrics(CollectorRegistry())
    made = StartOffsets(choice, metrics)  # type: ignore[arg-type]
    ledger = Ledger({PLACE: rows[-1]} if rows else {}, rows)
    return made, made.resolve(ledger, {PLACE: bounds}), metrics


def test_records_that_are_gone_stop_the_worker_or_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Fatal, match=r"never read: 30 of t/0") as stopped:
        placed("stop", PartitionBounds(10, 40, 90, "c/1"))
    assert stopped.value.exit_code == 78
    made, starts, metrics = placed("skip", PartitionBounds(10, 40, 90, "c/1"))
    assert (starts, made.take_skipped(PLACE), made.take_skipped(PLACE)) == ({PLACE: 40}, 30, 0)
    assert metrics.registry.get_sample_value("opinionwatch_records_skipped_total", {"topic": "t"}) == 30
    assert "30 of t/0" in caplog.text


def test_the_committed_offset_of_a_former_log_means_nothing(caplog: pytest.LogCaptureFixture) -> None:
    books = Progress(*PLACE, 8000, 8000, START, log="c/1")
    for committed in (8000, 100, None):
        _, starts, _ = placed("stop", PartitionBounds(committed, 0, 200, "c/2"), books)
        assert starts == {PLACE: 0}
    assert "partition=t/0 offset=0 reason=the topic is another log" in caplog.text


def test_a_group_that_was_moved_past_its_books_is_followed_and_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    books = Progress(*PLACE, 65, 65, START, log="c/1")
    assert placed("stop", PartitionBounds(65, 0, 90, "c/1"), books)[1] == {PLACE: 65}
    assert "ledger=" not in caplog.text
    assert placed("stop", PartitionBounds(70, 0, 90, "c/1"), books)[1] == {PLACE: 70}
    assert "partition=t/0 offset=70 ledger=65" in caplog.text


def test_back_in_the_former_cluster_it_goes_on_where_it_was() -> None:
    first, second = Progress(*PLACE, 80, 80, START, log="a/1"), Progress(*PLACE, 9, 9, START, log="b/2")
    assert placed("stop", PartitionBounds(80, 0, 200, "a/1"), first, second)[1] == {PLACE: 80}
    assert placed("stop", PartitionBounds(None, 0, 200, "a/1"), first, second)[1] == {PLACE: 80}


def test_a_topic_that_becomes_another_log_under_a_worker_ends_it() -> None:
    made, _, _ = placed("stop", PartitionBounds(None, 0, 9, "c/1"))
    made.refuse_replaced_logs({"t": "c/1"})
    made.refuse_replaced_logs({})
    with pytest.raises(Fatal, match="created again") as ended:
        made.refuse_replaced_logs({"t": "c/2"})
    assert ended.value.exit_code == 69
