"""What `status` says of partitions that keep a verdict waiting, and of topics that are read no longer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from pipeline.domain.progress import Progress
from pipeline.service.status import from_store
from pipeline.store.sqlite.store import SqliteStore
from tests.builders import START

NOW = START + timedelta(hours=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(tmp_path / "s.sqlite")
    made.setup()
    yield made
    made.close()


def read(partition: int, lag: int = 0, *, topic: str = "t", spoken: datetime = NOW, moved: datetime = NOW) -> Progress:
    return Progress(
        topic, partition, 50, 50 + lag, START, indexed=45, duplicate=4, dead=1, reported_at=spoken, advanced_at=moved
    )


def test_a_topic_that_kafka_does_not_have_is_named_once(store: SqliteStore) -> None:
    store.save_progress([read(0), read(1, 7, moved=START)])
    (place,) = from_store(store, ["t"], NOW, logs={}).waiting
    assert (place.topic, place.reason) == ("t", "Kafka has no such topic, or does not let this user see it")
    assert "opinionwatch setup" in place.remedy


def test_what_is_waited_for_is_named_with_its_reason_since_when_and_what_settles_it(store: SqliteStore) -> None:
    long = START + timedelta(minutes=2)
    stuck = read(1, 7, moved=long)
    store.save_progress(
        [read(0), stuck, replace(read(2, 3, moved=long), open_transaction=True), read(3, spoken=long), read(4, 9)]
    )
    found = from_store(store, ["t"], NOW).waiting
    assert [(w.partition, w.lag, w.shown_since) for w in found] == [
        (1, 7, "2026-03-02T00:02:00+00:00"), (2, 3, "2026-03-02T00:02:00+00:00"), (3, 0, "2026-03-02T00:02:00+00:00"),
    ]  # fmt: skip
    assert [w.reason.split(" ")[:2] for w in found] == [["records", "wait,"], ["the", "next"], ["no", "classify"]]
    assert all(w.remedy for w in found)


def test_a_topic_that_nobody_speaks_of_and_one_that_is_another_log_by_now_are_named(store: SqliteStore) -> None:
    store.save_progress([replace(read(0), log="c/1", partitions=2)])
    found = from_store(store, ["t", "u"], NOW, {"t": "c/2", "u": "c/3"}).waiting
    assert [(w.topic, w.partition, w.reason.split(" ")[0]) for w in found] == [
        ("t", 0, "the"), ("t", 1, "no"), ("u", 0, "no"),
    ]  # fmt: skip


def test_a_retired_topic_counts_and_has_neither_lag_nor_anything_in_flight(store: SqliteStore) -> None:
    store.save_progress([read(0), replace(read(0, 700, topic="former"), in_flight=3)])
    found = from_store(store, ["t"], NOW)
    assert (found.indexed, found.consumed, found.lag, found.in_flight) == (90, 100, 0, 0)
    assert (found.retired, found.waiting) == (("former",), ())


def test_the_counts_of_a_former_log_stay_and_its_lag_does_not(store: SqliteStore) -> None:
    """The topic was created again, with fewer partitions."""
    former = [replace(read(p, 700, spoken=START), log="c/1", in_flight=2, skipped=5) for p in range(2)]
    store.save_progress([*former, replace(read(0, 1), log="c/2", next_offset=4, end_offset=5, indexed=4)])
    found = from_store(store, ["t"], NOW)
    assert (found.indexed, found.lag, found.in_flight, found.skipped) == (94, 1, 0, 10)
    assert (found.waiting, found.retired) == ((), ())
