"""Values that every room shares: keys, progress, errors, records of other releases."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from models.text import full_text
from pipeline.domain import unreadable as records
from pipeline.domain.alert_evidence import SourceProfile
from pipeline.domain.annotation import Annotation
from pipeline.domain.counting import BUCKET_S, EVERYTHING, Scope
from pipeline.domain.delivery import Delivery
from pipeline.domain.document_version import DocumentVersion
from pipeline.domain.errors import EXIT_BUG, EXIT_CONFIG, EXIT_UNAVAILABLE, EXIT_USAGE, Fatal, Poison, Transient
from pipeline.domain.metrics import Metrics, RenamedGauge
from pipeline.domain.post import Origin, Record, document_id
from pipeline.domain.post_document import PostDocument, rounded
from pipeline.domain.progress import Progress, is_named, same_log
from pipeline.domain.retry import CAP_S, delay_s, retried
from pipeline.domain.threads import DaemonThreadPool
from pipeline.domain.unreadable import skip_unreadable
from tests.builders import as_dict, scored

AT = datetime(2026, 11, 24, 15, 30, tzinfo=UTC)


def test_a_key_holds_the_keys_that_name_more_of_the_same() -> None:
    topic, brand = Scope("tech"), Scope(subject="Nova")
    both = Scope("tech", "Nova")
    assert topic.holds(both)
    assert brand.holds(both)
    assert topic.holds(topic)
    assert EVERYTHING.holds(both)
    assert not both.holds(topic)
    assert not topic.holds(brand)
    assert not topic.holds(Scope("sports", "Nova"))
    assert Scope(source="weibo").holds(Scope("tech", source="weibo"))
    assert not Scope(source="weibo").holds(Scope("tech", source="reuters"))


def test_a_key_is_single_where_it_names_one_thing() -> None:
    assert [Scope("t").is_single, Scope(subject="s").is_single, Scope(source="x").is_single] == [True] * 3
    assert [EVERYTHING.is_single, Scope("t", "s").is_single, Scope("t", "s", "x").is_single] == [False] * 3


def test_a_bucket_is_five_minutes() -> None:
    assert BUCKET_S == 300


@pytest.mark.parametrize(
    ("stamp_ms", "time"),
    [
        (946_684_800_000, datetime(2000, 1, 1, tzinfo=UTC)),
        (946_684_799_999, None),
        (4_102_444_799_999, datetime(2100, 1, 1, tzinfo=UTC) - timedelta(milliseconds=1)),
        (4_102_444_800_000, None),
        (946_684_800_000_000, datetime(2000, 1, 1, tzinfo=UTC)),
        (int(AT.timestamp()) * 1_000_000, AT),
        (-1, None),
        (0, None),
    ],
)
def test_a_stamp_is_a_time_from_2000_to_2100_in_milliseconds_or_microseconds(
    stamp_ms: int, time: datetime | None
) -> None:
    assert Record(Origin("t", 0, 1), stamp_ms, b"").time == time


def test_a_post_has_an_id_of_its_source_and_its_own() -> None:
    assert document_id("weibo", "1") != document_id("weib", "o1")
    assert full_text("a", "b") == "a\nb"
    assert [full_text("a", ""), full_text("", "b")] == ["a", "b"]


def test_a_document_has_scores_with_four_digits_and_none_where_a_model_has_no_such_head() -> None:
    post = scored(1)._replace(labels={"topic": "x"}, scores={"topic": 0.123456}, negative_score=0.987654)
    body = PostDocument(post, AT, repost=True).to_json()
    assert (body["topic_score"], body["sentiment_score"], body["negative_score"]) == (0.1235, 0.0, 0.9877)
    assert (body["scores"], body["sentiment"], body["repost"]) == ({"topic": 0.1235}, "", True)
    other = scored(1)._replace(labels={"sentiment": "y"}, scores={"sentiment": 0.123456})
    body = PostDocument(other, AT, repost=False).to_json()
    assert (body["topic"], body["topic_score"], body["sentiment_score"]) == ("", 0.0, 0.1235)
    assert (body["corrected"], body["repost"]) == (False, False)
    assert rounded({"mood": 0.123456}) == {"mood": 0.1235}


def test_a_document_of_an_older_release_has_the_scores_that_it_shows() -> None:
    body = as_dict(PostDocument(scored(1), AT, repost=False).to_json())
    assert PostDocument.from_json("a", body | {"scores": {"mood": 0.25}}).scores == {"mood": 0.25}
    older = {name: value for name, value in body.items() if name != "scores"} | {"labels": {"topic": "x"}}
    assert PostDocument.from_json("a", older).scores == {"topic": 0.8}
    least: dict[str, Any] = {"source": "weibo", "@timestamp": AT.isoformat(), "ingested_at": AT.isoformat(), "newer": 1}
    read = PostDocument.from_json("a", least)
    assert (read.id, read.topic, read.unknown, read.repost, read.corrected) == ("a", "", {"newer": 1}, False, False)
    assert (read.post.reposts, read.post.likes, read.post.comments) == (0, 0, 0)
    assert (read.post.likes, read.post.origin, read.scored.negative_score) == (0, Origin("", 0, 0), 0.0)
    assert (read.labels, read.scores) == ({}, {})
    assert as_dict(read.to_json()) | least == as_dict(read.to_json()), "a field of a newer release stays"


def test_versions_of_documents_rank_the_stream_before_relabelling_before_people() -> None:
    """The numbers stand in documents of every release, and so do those of the times that corrections add."""
    assert [int(v) for v in DocumentVersion] == [1, 1_000, 1_000_000_000]


def test_exit_codes_are_those_of_the_contract() -> None:
    assert (EXIT_USAGE, EXIT_UNAVAILABLE, EXIT_BUG, EXIT_CONFIG) == (2, 69, 70, 78)


def test_histograms_reach_from_milliseconds_to_what_an_alert_may_wait_for() -> None:
    """Dashboards and alerting rules name these buckets."""
    metrics = Metrics()
    buckets = {
        family.name: [float(s.labels["le"]) for s in family.samples if s.name.endswith("_bucket")]
        for family in metrics.registry.collect()
        if family.type == "histogram"
    }
    seconds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300]
    end = [float("inf")]
    assert buckets["opinionwatch_batch_size"] == [*(2.0**n for n in range(11)), *end]
    for name in ("inference_seconds", "index_seconds", "received_to_indexed_seconds"):
        assert buckets[f"opinionwatch_{name}"] == seconds + end
    assert buckets["opinionwatch_published_to_indexed_seconds"] == [*seconds, 3600, 86400, *end]


def test_a_renamed_gauge_has_both_names_until_it_is_cleared() -> None:
    registry = CollectorRegistry()
    labelled = RenamedGauge("new", "old", "Posts", registry, ["source"])
    plain = RenamedGauge("new_plain", "old_plain", "Posts", registry)
    labelled.set(3.0, "weibo")
    plain.set(2.0)
    for name in ("new", "old"):
        assert registry.get_sample_value(name, {"source": "weibo"}) == 3.0
        assert registry.get_sample_value(f"{name}_plain") == 2.0
    labelled.clear()
    assert registry.get_sample_value("new", {"source": "weibo"}) is None
    assert registry.get_sample_value("old", {"source": "weibo"}) is None
    documentation = {family.name: family.documentation for family in registry.collect()}
    assert (documentation["new"], documentation["old"]) == ("Posts", "Former name of new")


def test_the_lag_of_partitions_that_others_hold_is_withdrawn() -> None:
    metrics = Metrics()
    for partition in ("0", "1"):
        metrics.lag.labels("t", partition).set(5)
    metrics.keep_lag([("t", 1), ("u", 0)])
    assert metrics.registry.get_sample_value("opinionwatch_consumer_lag", {"topic": "t", "partition": "0"}) is None
    assert metrics.registry.get_sample_value("opinionwatch_consumer_lag", {"topic": "t", "partition": "1"}) == 5


def test_one_model_is_served_and_one_is_wanted() -> None:
    metrics = Metrics()

    def sample(metric: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"opinionwatch_model_{metric}", labels)

    for version in ("1", "2"):
        metrics.serves("m", version)
        metrics.wants(version, "1")
    assert (sample("info", name="m", version="1"), sample("info", name="m", version="2")) == (None, 1)
    assert (sample("wanted_info", version="1"), sample("wanted_info", version="2"), sample("behind")) == (None, 1, 1)
    metrics.wants("1", "1")
    assert sample("behind") == 0
    for outcome in ("taken", "refused"):
        assert sample("swaps_total", outcome=outcome) == 0, "a rate misses the first event of a new series"


def test_the_lag_is_what_lies_between_and_never_negative() -> None:
    assert Progress("t", 0, 3, 10, AT).lag == 7
    assert Progress("t", 0, 11, 10, AT).lag == 0


def test_a_log_is_named_in_the_key_of_its_progress() -> None:
    assert Progress("t", 0, 0, 0, AT, log="c/1").log_key == "t@c/1"
    assert Progress("t", 0, 0, 0, AT).log_key == "t"
    assert [is_named("c/1"), is_named("unknown-1"), is_named("")] == [True, False, False]


def test_logs_differ_where_both_say_so() -> None:
    assert same_log("c/1", "c/1")
    assert not same_log("c/1", "c/2")
    assert not same_log("c/1", "d/2")
    assert same_log("c/1", "d/1"), "a topic's id is its own in any cluster"
    assert same_log("/1", "c/")
    assert same_log("/", "c/")
    assert same_log("c/1/x", "d/1/x"), "an id may hold anything"
    assert not same_log("c/", "d/1")


def test_no_event_time_lies_in_the_future() -> None:
    ahead = Progress("t", 0, 0, 0, AT)
    assert ahead.bounded(AT - timedelta(seconds=1)).event_time == AT - timedelta(seconds=1)
    assert ahead.bounded(AT) is ahead


def test_a_progress_record_is_refused_where_a_number_or_a_time_is_out_of_range() -> None:
    good = as_dict(Progress("t", 0, 3, 10, AT, reported_at=AT, advanced_at=AT).to_json())
    assert Progress.from_json(good | {"end_offset": 2**63 - 1}).end_offset == 2**63 - 1
    assert Progress.from_json(good | {"next_offset": 0}).next_offset == 0
    for change in ({"end_offset": 2**63}, {"next_offset": -1}, {"reported_at": "2026-11-24T15:30:00"}, {"dead": "1"}):
        with pytest.raises(ValueError, match="not a progress record"):
            Progress.from_json(good | change)


def test_an_annotation_has_one_identity_per_text_head_and_person() -> None:
    one = Annotation("p", "mood", "bad", "ann", AT, "text")
    assert one.id == Annotation("p", "mood", "good", "ann", AT + timedelta(days=1), "other").id
    assert len({one.id, *(Annotation(*who, "bad", "ann", AT, "").id for who in (("q", "mood"), ("p", "topic")))}) == 3
    assert one.id != Annotation("p", "mood", "bad", "bob", AT, "text").id
    assert Annotation.from_json({**one.to_json(), "new": 1}) == one
    without_text = {name: value for name, value in one.to_json().items() if name != "text"}
    broken: dict[str, Any]
    for broken in ({}, {"at": AT.isoformat()}, {**one.to_json(), "at": None}, without_text):
        with pytest.raises(ValueError, match="not an annotation: "):
            Annotation.from_json(broken)


def test_errors_say_what_happened_and_what_to_do() -> None:
    assert str(Transient("no broker", remedy="start it")) == "no broker; start it"
    assert (Transient("no broker").retry_after_s, str(Transient("no broker"))) == (0.5, "no broker")
    assert str(Poison("decode", "too_large")) == "decode: too_large"
    assert str(Poison("decode", "too_large", "9 bytes")) == "decode: too_large: 9 bytes"
    fatal = Fatal("no bundle", "train one")
    assert (str(fatal), fatal.problem, fatal.remedy) == ("no bundle; train one", "no bundle", "train one")
    assert fatal.exit_code == EXIT_CONFIG == 78
    assert str(Fatal("no bundle")) == "no bundle"


def test_delays_double_up_to_a_cap_and_keep_what_a_service_asks_for() -> None:
    assert [delay_s(n, 0.5, 1.0) for n in range(6)] == [0.5, 1.0, 2.0, 4.0, CAP_S, CAP_S]
    assert [delay_s(n, 0.5, 0.0) for n in range(6)] == [0.5, 0.5, 1.0, 2.0, 2.5, 2.5]
    assert delay_s(10_000, 0.5, 1.0) == CAP_S
    assert delay_s(2, 60.0, 0.5) == 60.0


def test_a_call_is_retried_until_it_works_and_another_error_passes(caplog: pytest.LogCaptureFixture) -> None:
    outcomes: Iterator[Exception | None] = iter([Transient("away", 2.0), Transient("still away", 3.0), None])
    slept: list[float] = []
    noted: list[tuple[str, int]] = []

    async def call() -> str:
        if error := next(outcomes):
            raise error
        return "there"

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    def note(error: Transient, attempt: int) -> None:
        noted.append((str(error), attempt))

    assert asyncio.run(retried(call, note, sleep)) == "there"
    assert noted == [("away", 0), ("still away", 1)]
    assert slept[0] == 2.0
    assert 3.0 <= slept[1] <= 5.0
    assert "still away" in caplog.text
    assert "3" in caplog.messages[-1], "it says how many tries it took"
    caplog.clear()
    outcomes = iter([None, ValueError("a bug")])
    assert asyncio.run(retried(call, note, sleep)) == "there"
    assert caplog.text == "", "what worked at once says nothing"
    with pytest.raises(ValueError, match="a bug"):
        asyncio.run(retried(call, note, sleep))


def test_records_that_cannot_be_read_are_passed_over_with_a_line_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "_logged", {})
    now_s = 1000.0

    def read(values: list[str], what: str = "a kind") -> list[int]:
        return list(skip_unreadable(what, values, int, lambda: now_s))

    caplog.set_level(logging.WARNING)
    assert read(["1", "x", "2", "y", "3"]) == [1, 2, 3]
    assert len(caplog.records) == 1
    assert "a kind" in caplog.text
    assert "ValueError" in caplog.text
    assert "more since" not in caplog.text
    assert read(["z"], "another kind") == []
    assert len(caplog.records) == 2, "each kind has a line of its own"
    now_s += 59
    read(["x"])
    assert len(caplog.records) == 2
    now_s += 1
    read(["x"])
    assert len(caplog.records) == 3
    assert "2 more since" in caplog.records[-1].getMessage()
    now_s += 60
    read(["x"])
    assert "more since" not in caplog.records[-1].getMessage()


def test_threads_are_made_as_they_are_needed_and_results_come_back() -> None:
    pool, gate, running = DaemonThreadPool(2, "pool"), threading.Event(), threading.Semaphore(0)

    def wait(value: int) -> int:
        running.release()
        gate.wait(10)
        return value

    first = [pool.submit(wait, n) for n in range(3)]
    assert running.acquire(timeout=10)
    assert running.acquire(timeout=10)
    assert not running.acquire(timeout=0.05), "two run, the third waits"
    gate.set()
    assert [future.result(10) for future in first] == [0, 1, 2]
    with pytest.raises(ZeroDivisionError):
        pool.submit(lambda: 1 // 0).result(10)
    named = pool.submit(threading.current_thread).result(10)
    assert (named.name, named.daemon) == ("pool", True)


def test_an_idle_thread_is_used_again() -> None:
    pool = DaemonThreadPool(8, "pool")
    used = set()
    for _ in range(5):
        used.add(pool.submit(threading.get_ident).result(10))
        # A thread is idle just after its result is there.
        threading.Event().wait(0.05)
    assert len(used) == 1


def test_shutdown_returns_at_once_and_cancels_what_waits() -> None:
    pool, gate, running = DaemonThreadPool(1, "pool"), threading.Event(), threading.Event()

    def wait() -> None:
        running.set()
        gate.wait(10)

    going = pool.submit(wait)
    assert running.wait(10)
    waiting = [pool.submit(print) for _ in range(2)]
    pool.shutdown()
    assert [future.cancelled() for future in waiting] == [True, True]
    assert not going.done()
    gate.set()
    assert going.result(10) is None


def test_what_nobody_has_seen_yet_starts_before_the_first() -> None:
    assert Record(Origin("t", 0, 1), 0, b"").replayed == 0
    delivery = Delivery("c")
    assert (delivery.sequence, delivery.attempts, delivery.due_at) == (-1, 0, None), "transition 0 is still to be heard"
    assert SourceProfile.from_json({}) == SourceProfile()
    assert (SourceProfile().broad, SourceProfile().top_author_share, SourceProfile().top_source_share) == (False, 0, 0)
