"""What dies inside Faust or aiokafka ends the process with a code, and a worker that stands still is not ready."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import errors
from aiokafka.consumer.consumer import AIOKafkaConsumer
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.producer.sender import Sender
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.errors import Fatal, Transient
from pipeline.domain.progress import Progress
from pipeline.kafka import app, writers
from pipeline.kafka.commit_health import CommitHealth
from pipeline.kafka.failures import exit_error
from pipeline.kafka.stall import STALL_S, PartitionPosition, StallDetector
from pipeline.kafka.supervision import Supervisor
from tests.builders import START

TP = TopicPartition("t", 0)


def service(**more: Any) -> Any:
    return SimpleNamespace(**{"crashed": False, "crash_reason": None, "should_stop": False, "_children": [], **more})


class Rig:
    """An app as a supervisor looks at it, all well; `now` is the time."""

    app: Any
    client: Any
    consumer: Any
    coordinator: Any
    sender: Any
    thread: Any
    topics: set[str]

    def __init__(self) -> None:
        self.now = 0.0
        forever = SimpleNamespace(done=lambda: False)
        self.cluster = SimpleNamespace(topics=lambda: self.topics, unauthorized_topics=set())
        self.topics = {"t", "u"}
        self.state = SimpleNamespace(highwater=9, lso=None, has_valid_position=True, position=9)
        assignment = SimpleNamespace(state_value=lambda _: self.state)
        subscriptions = SimpleNamespace(subscription=SimpleNamespace(assignment=assignment))
        self.coordinator = SimpleNamespace(
            _pending_exception=None, _coordination_task=forever, coordinator_id=1, member_id="m", generation=1
        )
        self.client = SimpleNamespace(
            _client=SimpleNamespace(cluster=self.cluster),
            _coordinator=self.coordinator,
            _fetcher=SimpleNamespace(_fetch_task=forever, _subscriptions=subscriptions),
            assignment=lambda: {TP},
        )
        self.thread = service(_consumer=self.client, _thread=SimpleNamespace(is_stopped=threading.Event()))
        self.consumer = service(
            _thread=self.thread, commit_health=CommitHealth(), uncommitted_records=lambda _: 0, _children=[self.thread]
        )
        self.sender = SimpleNamespace(sender_task=forever)
        self.app = service(
            started=True, consumer=self.consumer, _children=[service(_children=[self.consumer])],
            producer=service(_producer=SimpleNamespace(_sender=self.sender)), conf=SimpleNamespace(id="g-classify"),
        )  # fmt: skip
        self.supervisor = Supervisor(self.app, ["t", "u"], lambda: self.now)

    def after(self, seconds: float) -> BaseException | None:
        self.now += seconds
        return self.supervisor.look()


def ended(error: BaseException | None, *, cancelled: bool = False) -> Any:
    return SimpleNamespace(done=lambda: True, cancelled=lambda: cancelled, exception=lambda: error)


DEATHS: dict[str, Callable[[Rig], None]] = {
    "app": lambda rig: vars(rig.app).update(crashed=True, crash_reason=ValueError("dead")),
    "consumer": lambda rig: vars(rig.consumer).update(crashed=True, crash_reason=ValueError("dead")),
    "thread's service": lambda rig: vars(rig.thread).update(crashed=True, crash_reason=ValueError("dead")),
    "without a reason": lambda rig: vars(rig.consumer).update(crashed=True),
    "thread": lambda rig: rig.thread._thread.is_stopped.set(),
    "fetch task": lambda rig: vars(rig.client._fetcher).update(_fetch_task=ended(ValueError("dead"))),
    "fetch task without a word": lambda rig: vars(rig.client._fetcher).update(_fetch_task=ended(None)),
    "coordination": lambda rig: vars(rig.coordinator).update(_coordination_task=ended(None, cancelled=True)),
    "unread error": lambda rig: vars(rig.coordinator).update(_pending_exception=ValueError("dead")),
    "sender": lambda rig: vars(rig.sender).update(sender_task=ended(ValueError("dead"))),
}


@pytest.mark.parametrize("death", DEATHS)
def test_whatever_dies_is_found_at_the_next_look(death: str) -> None:
    rig = Rig()
    assert rig.after(1) is None
    DEATHS[death](rig)
    assert isinstance(rig.after(1), ValueError | RuntimeError)


def test_an_app_that_is_stopped_or_not_started_is_not_dead() -> None:
    rig = Rig()
    rig.thread.should_stop = True
    rig.thread._thread.is_stopped.set()
    assert rig.after(1) is None
    rig.app.started, rig.app.crashed = False, True
    assert rig.after(1) is None


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.GroupAuthorizationFailedError("g"), 69),
        (errors.TopicAuthorizationFailedError("t"), 69),
        (errors.SaslAuthenticationFailed(), 69),
        (errors.UnknownError(), 69),
        (Fatal("said", "do", 78), 78),
    ],
)
def test_what_kafka_refused_is_one_line_with_a_remedy(error: BaseException, code: int) -> None:
    found = exit_error(error)
    assert isinstance(found, Fatal)
    assert found.exit_code == code
    assert found.remedy


def test_what_keeps_a_worker_out_of_its_group_is_named_while_it_starts() -> None:
    rig = Rig()

    async def start() -> None:
        rig.coordinator._pending_exception = errors.InconsistentGroupProtocolError()
        await asyncio.Event().wait()

    rig.app.start = start
    with pytest.raises(Fatal, match=r"another application is in the consumer group.*kafka\.group"):
        asyncio.run(app.start(rig.app, "kafka:9092", 10))


def test_progress_that_kafka_does_not_take_is_tried_again_long_before_the_client_gives_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writers, "PROGRESS_S", 0.05)

    class Silent:
        async def send(self, **_: Any) -> None:
            await asyncio.Event().wait()

    with pytest.raises(Transient, match="did not take a record.*opinionwatch check"):
        asyncio.run(writers.ProgressTopic(Rig().app, Silent()).send(Progress("t", 0, 1, 1, START)))


def test_a_bug_stays_one_also_inside_what_aiokafka_makes_of_it() -> None:
    bug = AttributeError("none")
    assert exit_error(bug) is bug
    wrapped = errors.KafkaError("Unexpected error during data retrieval")
    wrapped.__cause__ = bug
    assert exit_error(wrapped) is bug
    refused = errors.KafkaError("Unexpected error during coordination")
    refused.__cause__ = errors.UnknownError()
    assert isinstance(exit_error(refused), Fatal)
    assert isinstance(exit_error(asyncio.CancelledError()), RuntimeError)


def test_a_topic_that_is_gone_for_a_while_ends_the_process_and_is_named() -> None:
    rig = Rig()
    rig.after(1)
    rig.topics = {"t"}
    assert all(rig.after(1) is None for _ in range(9))
    rig.topics = {"t", "u"}
    assert rig.after(5) is None, "it moved between leaders"
    rig.topics = {"t"}
    assert all(rig.after(1) is None for _ in range(10))
    gone = rig.after(1)
    assert isinstance(gone, Fatal)
    assert gone.exit_code == 78
    assert "topic u " in str(gone)


def test_the_only_topic_of_an_app_is_missed_as_well() -> None:
    rig = Rig()
    rig.supervisor = Supervisor(rig.app, ["t"], lambda: rig.now)
    rig.topics = set()
    assert rig.after(100) is None, "nothing was heard yet"
    rig.topics = {"t"}
    assert rig.after(1) is None
    rig.topics = set()
    assert rig.after(1) is None
    assert "topic t was deleted" in str(rig.after(10))


def test_without_any_metadata_no_topic_is_gone_and_one_that_may_not_be_seen_is_a_refusal() -> None:
    rig = Rig()
    rig.topics = set()
    assert rig.after(100) is None
    rig.topics = {"t"}
    rig.cluster.unauthorized_topics.add("u")
    refused = rig.after(1)
    assert isinstance(refused, Fatal)
    assert refused.exit_code == 69


def test_ready_is_who_is_in_its_group_and_commits() -> None:
    rig = Rig()
    rig.coordinator.member_id = ""
    rig.after(1)
    assert rig.supervisor.not_ready() == "joining the consumer group g-classify"
    rig.coordinator.member_id = "m"
    rig.after(1)
    assert rig.supervisor.not_ready() is None
    rig.coordinator.coordinator_id = None
    rig.after(15)
    assert rig.supervisor.not_ready() is None, "as in a rebalance"
    rig.after(1)
    assert "out of the consumer group g-classify for 16 s" in str(rig.supervisor.not_ready())
    rig.coordinator.coordinator_id = 1
    rig.after(1)
    rig.consumer.commit_health.failed("KafkaTimeoutError", refused=False, now=rig.now)
    rig.after(20)
    assert "cannot be committed for 20 s" in str(rig.supervisor.not_ready())


def test_a_worker_in_which_no_record_moves_is_not_ready() -> None:
    rig = Rig()
    rig.state.position = 5
    rig.after(1)
    rig.after(STALL_S)
    assert "records wait in t/0 at offset 5" in str(rig.supervisor.not_ready())
    rig.state.position = 6
    rig.after(1)
    assert rig.supervisor.not_ready() is None
    rig.after(STALL_S)
    rig.state.lso = 6  # a transaction is open: there is nothing to read
    rig.after(1)
    assert rig.supervisor.not_ready() is None


steps = st.lists(st.tuples(st.floats(0.1, 100), st.integers(0, 3), st.integers(0, 2), st.integers(0, 3)), max_size=30)


@given(steps)
def test_only_what_stood_still_with_work_waiting_is_stalled(found: list[tuple[float, int, int, int]]) -> None:
    detector, now, since, last = StallDetector(), 0.0, 0.0, None
    for seconds, position, open_records, end in found:
        now += seconds
        current = PartitionPosition(("t", 0), position, open_records, end)
        if not current.has_work or last is None or last[:3] != current[:3]:
            since = now
        last = current
        detector.observe([current], now)
        assert (detector.stalled(now) is not None) == (now - since >= STALL_S)
    detector.observe([], now)
    assert detector.stalled(now + 1000) is None, "it is no longer held"


def test_aiokafka_still_has_what_is_looked_at() -> None:
    for owner, names in {
        Fetcher: ("_fetch_task", "_subscriptions"),
        GroupCoordinator: ("_pending_exception", "_coordination_task", "coordinator_id", "member_id", "generation"),
        Sender: ("sender_task",),
        AIOKafkaConsumer: ("_client", "_coordinator", "_fetcher"),
    }.items():
        source = inspect.getsource(owner)
        assert all(name in source for name in names), owner
