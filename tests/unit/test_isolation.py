"""What one record meets costs that record; what most of them meet ends the process."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.classify.isolation import MIN_BUGS, Bug, BugLimit, isolate_bugs, poison_of
from pipeline.domain.errors import Transient


def _failing(bad: set[int]) -> tuple[list[int], object]:
    calls: list[int] = []

    def call(part: Sequence[int]) -> list[int]:
        calls.append(len(part))
        if bad & set(part):
            raise KeyError("bug")
        return [10 * item for item in part]

    return calls, call


@given(st.integers(0, 300), st.sets(st.integers(0, 299), max_size=MIN_BUGS - 1))
def test_the_items_at_fault_are_found_and_the_others_done_in_order(size: int, bad: set[int]) -> None:
    _, call = _failing(bad)
    found = isolate_bugs(range(size), call)  # type: ignore[arg-type]
    assert [item if isinstance(item, int) else None for item in found] == [
        None if item in bad else 10 * item for item in range(size)
    ]
    assert all(isinstance(f, int) or isinstance(f.error, KeyError) for f in found)


def test_one_bad_item_costs_two_calls_for_each_halving() -> None:
    calls, call = _failing({200})
    isolate_bugs(range(512), call)  # type: ignore[arg-type]
    assert len(calls) == 2 * 9 + 1
    assert sum(calls) < 2 * 512 + 512


def test_where_every_item_fails_it_is_no_item_and_few_calls_are_made() -> None:
    calls, call = _failing(set(range(512)))
    with pytest.raises(KeyError):
        isolate_bugs(range(512), call)  # type: ignore[arg-type]
    assert len(calls) < 4 * MIN_BUGS


def test_expected_failures_and_a_lack_of_memory_are_no_bugs() -> None:
    for error in (Transient("not now"), MemoryError()):

        def call(part: Sequence[int], error: Exception = error) -> list[int]:
            raise error

        with pytest.raises(type(error)):
            isolate_bugs([1, 2], call)

    def broken(part: Sequence[int]) -> list[int]:
        raise OSError("the disk")

    with pytest.raises(OSError, match="disk"):
        isolate_bugs([1, 2], broken, (ValueError,))


def test_the_log_names_the_record_and_the_place_but_no_text(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("text of a post")
    except ValueError as error:
        poison = poison_of(Bug(error), "decode", "record opinion.news/0/7")
    assert (poison.stage, poison.reason) == ("decode", "bug")
    assert "record opinion.news/0/7" in caplog.text
    assert "error=ValueError at=test_isolation.py:" in caplog.text
    assert "text of a post" not in caplog.text


def _bugs(number: int) -> list:  # type: ignore[type-arg]
    return [poison_of(Bug(KeyError("bug")), "decode", "a record") for _ in range(number)]


def test_one_bad_record_in_a_quiet_topic_never_ends_the_worker() -> None:
    guard = BugLimit()
    for _ in range(MIN_BUGS - 1):
        guard.admit(_bugs(1), 1)
    guard = BugLimit()
    for _ in range(10 * MIN_BUGS):
        guard.admit([], 1)
        guard.admit(_bugs(1), 1)


def test_a_bug_that_most_records_meet_ends_the_worker_however_they_come() -> None:
    for size in (1, 7, 512):
        guard, buried_ = BugLimit(), 0
        guard.admit([], 100_000)
        with pytest.raises(KeyError):
            for _ in range(1000):
                guard.admit(_bugs(size), size)
                buried_ += size
        assert buried_ <= 2 * BugLimit.WINDOW + 100_000 // 2
