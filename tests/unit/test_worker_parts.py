"""The parts of the alert role by themselves: leadership, retries, gauges, records that wait, and the lack of data."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipeline.alerting.alerts.evidence import Evidence, EvidenceReader
from pipeline.alerting.clock import Clock
from pipeline.alerting.counting.source_monitor import SourceMonitor
from pipeline.alerting.counting.watermark import Watermark
from pipeline.alerting.detection.thresholds import CALIBRATION, Calibration, Threshold
from pipeline.alerting.evaluation.evaluator import Evaluator
from pipeline.alerting.evaluation.events import Event
from pipeline.alerting.notify.notifier import Notifier
from pipeline.alerting.worker.calibration_schedule import CALIBRATE_CHECK_S, CalibrationSchedule
from pipeline.alerting.worker.completeness import Completeness
from pipeline.alerting.worker.evaluation_step import EvaluationStep
from pipeline.alerting.worker.gauges import COUNT_OPEN_EVERY_S, AlertGauges
from pipeline.alerting.worker.leadership import Leadership
from pipeline.alerting.worker.no_data import NoDataDetector
from pipeline.alerting.worker.publisher import AlertPublisher
from pipeline.alerting.worker.recorder import AlertRecorder
from pipeline.alerting.worker.retrying import Obstacle, StoreRetry
from pipeline.domain.alert import Alert
from pipeline.domain.errors import Fatal, PipelineError, Transient
from pipeline.domain.metrics import Metrics
from pipeline.domain.progress import Progress
from pipeline.settings import AlertSettings
from pipeline.store.protocol import MonitoringStore
from tests.builders import START, an_alert
from tests.unit.test_alert_parts import EPISODE, PEAK, event


class Time:
    """A clock that goes on only where somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.clock = Clock(lambda: START, lambda: self.seconds, self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.seconds += seconds


async def at_once(call: Any) -> Any:
    """A retry whose first try succeeds."""
    return call()


RETRY = cast(StoreRetry, at_once)


def test_only_who_holds_the_partition_and_has_taken_over_leads() -> None:
    holds, now = [False], [7.0]
    leadership = Leadership(lambda: holds[0], lambda: now[0])
    assert (leadership.claims, leadership.leads, leadership.taken_over, leadership.since_s) == (False, False, False, 0)
    holds[0] = True
    assert (leadership.claims, leadership.leads) == (True, False), "the state is not loaded yet"
    leadership.begin()
    leadership.take_over()
    assert (leadership.claims, leadership.leads, leadership.since_s) == (True, True, 7.0)
    holds[0] = False
    assert (leadership.claims, leadership.leads) == (True, False), "it has still to let go"
    leadership.let_go()
    assert (leadership.claims, leadership.leads) == (False, False)


def test_a_failure_lasts_from_its_first_try_by_the_clock_or_by_the_waits() -> None:
    obstacle = Obstacle()
    assert obstacle.lasts(1000.0, 0.0) is None
    obstacle.met("first", 100.0)
    obstacle.met("second", 105.0)
    assert obstacle.lasts(109.0, 9.0) is None
    assert obstacle.lasts(109.1, 9.0) == "second", "the last reason, since the first"
    obstacle.waited(6.0)
    obstacle.waited(4.0)
    assert obstacle.lasts(105.0, 9.9) == "second", "a clock that stands does not hide it"
    assert obstacle.lasts(105.0, 10.0) is None
    obstacle.gone()
    assert obstacle.lasts(1000.0, 0.0) is None
    obstacle.met("again", 2000.0)
    assert obstacle.lasts(2005.0, 5.0) is None, "the obstacle started over"


def test_a_call_of_the_store_is_retried_counted_and_logged_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    time, metrics, left = Time(), Metrics(), [25]
    retry = StoreRetry(metrics, time.clock)

    def call() -> str:
        left[0] -= 1
        if left[0] == 3:
            assert retry.obstacle.lasts(time.seconds, 20.0) == "away"
        if left[0]:
            raise Transient("away")
        return "there"

    with caplog.at_level(logging.WARNING, "pipeline.alerting.worker.retrying"):
        assert asyncio.run(retry(call)) == "there"
    assert metrics.registry.get_sample_value("opinionwatch_retries_total", {"stage": "alert"}) == 24
    tries = [m for m in caplog.messages if m.startswith("alerts: ")]
    assert tries == [f"alerts: away (attempt {n}, will retry)" for n in (1, 4, 11, 21)]
    assert retry.obstacle.lasts(time.seconds + 999, 0.0) is None

    def bug() -> None:
        raise Fatal("no index")

    with pytest.raises(Fatal, match="no index"):
        asyncio.run(retry(bug))


class Topic:
    """Notes what is published; raises `fails` while it is set."""

    def __init__(self) -> None:
        self.got: list[tuple[str, Any]] = []
        self.fails: PipelineError | TimeoutError | None = None

    async def publish(self, alert_id: str, record: Any) -> None:
        if self.fails is not None:
            raise self.fails
        self.got.append((alert_id, record))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Transient("no broker"), "alerts are not published: no broker"),
        (Fatal("not allowed", "grant it"), "alerts are not published: not allowed; grant it"),
        (TimeoutError(), "alerts are not published: Kafka does not answer"),
    ],
)
def test_records_that_the_topic_refuses_wait_in_their_order(
    error: PipelineError | TimeoutError, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    topic, now = Topic(), [0.0]
    publisher = AlertPublisher(topic.publish, lambda: now[0])
    topic.fails = error
    for number in range(3):
        publisher.add("a", {"n": number})
        asyncio.run(publisher.flush())
        now[0] += 1.0
    assert publisher.obstacle.lasts(now[0], 2.0) == words
    assert caplog.messages == [f"{words}; 1 records wait, and people are still notified"], "once"
    topic.fails = None
    asyncio.run(publisher.flush())
    assert topic.got == [("a", {"n": number}) for number in range(3)]
    assert publisher.obstacle.lasts(now[0], 0.0) is None
    asyncio.run(publisher.flush())
    assert len(topic.got) == 3


def test_ten_thousand_records_wait_at_the_most_and_the_oldest_go_first() -> None:
    topic = Topic()
    publisher = AlertPublisher(topic.publish, lambda: 0.0)
    for number in range(10_002):
        publisher.add("a", number)  # type: ignore[arg-type]
    asyncio.run(publisher.flush())
    assert [record for _, record in topic.got] == list(range(2, 10_002))


COUNTED = {"warning": 2, "critical": 1, "unnotified": 3}


def test_gauges_show_the_open_alerts_and_the_lag_until_another_process_takes_over() -> None:
    metrics, now, asked = Metrics(), [100.0], list[float]()

    class Store:
        def open_alerts(self) -> dict[str, int]:
            asked.append(now[0])
            return COUNTED

    gauges = AlertGauges(metrics, cast(Any, Store()), RETRY, lambda: now[0])

    def sample(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"opinionwatch_{name}", labels)

    for seconds in (100.0, 130.0, 130.1):
        now[0] = seconds
        asyncio.run(gauges.count_open_when_due())
    assert (asked, COUNT_OPEN_EVERY_S) == ([100.0, 130.1], 30.0)
    assert [sample("alerts_open", severity=s) for s in ("warning", "critical")] == [2, 1]
    assert sample("alerts_unnotified") == 3
    calibration = Calibration(START, 0.02, {"under 10/h": Threshold(4.5, 0.01, 9.0)})
    gauges.show_thresholds(None)
    gauges.show_thresholds(calibration)
    tier = {"tier": "under 10/h"}
    assert (sample("alert_threshold", **tier), sample("alert_backtested_rate", **tier)) == (4.5, 0.01)
    gauges.show_lag(START + timedelta(minutes=5), START)
    assert sample("alert_evaluation_lag_seconds") == 300
    gauges.show_lag(START, None)
    assert sample("alert_evaluation_lag_seconds") == 300
    gauges.show_lag(START, START + timedelta(minutes=5))
    assert sample("alert_evaluation_lag_seconds") == 0, "never negative"
    gauges.show_lag(START, START - timedelta(seconds=1))
    assert sample("alert_evaluations_total") == 4
    gauges.clear()
    assert (sample("alert_evaluation_lag_seconds"), sample("alerts_unnotified")) == (0, 0)
    assert sample("alerts_open", severity="warning") is sample("alert_threshold", **tier) is None
    assert sample("alert_backtested_rate", **tier) is None


class Sources:
    """Stands in for `SourceMonitor`."""

    def __init__(self) -> None:
        self.why: str | None = None
        self.looked: list[tuple[datetime, float, int]] = []
        self.idle_s = 0.0

    def no_data(self) -> str | None:
        return self.why

    def look(self, reached: datetime, idle_for_s: float, records: int) -> None:
        self.looked.append((reached, idle_for_s, records))

    def idle_for_s(self, records: int) -> float:
        return self.idle_s


def reported(partition: int, minute: int, *, next_offset: int = 9, end: int = 9, topic: str = "t", of: int = 2,
             open_transaction: bool = False) -> Progress:  # fmt: skip
    at = START + timedelta(minutes=minute)
    return Progress(topic, partition, next_offset, end, at, partitions=of, open_transaction=open_transaction)


class Blind:
    """A detector over a real watermark of the topic `t`, with obstacles that a test sets."""

    def __init__(self) -> None:
        self.now, self.sources, self.metrics = 0.0, Sources(), Metrics()
        self.watermark, self.obstacles = Watermark(10, ["t"]), (Obstacle(), Obstacle())
        self.leadership = Leadership(lambda: True, lambda: self.now)
        self.detector = NoDataDetector(
            self.watermark, cast(SourceMonitor, self.sources), self.obstacles, self.leadership, 60.0, self.metrics,
            lambda: self.now,
        )  # fmt: skip

    def reason(self) -> str | None:
        self.detector.check()
        shown = self.metrics.registry.get_sample_value("opinionwatch_alert_no_data")
        assert shown == (self.detector.reason is not None)
        return self.detector.reason


def test_the_lack_of_data_has_a_reason_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    rig = Blind()
    rig.obstacles[1].met("alerts are not published", 0.0)
    rig.now = 60.0
    assert rig.reason() is None
    rig.now = 60.1
    assert rig.reason() == "alerts are not published", "also where another process leads"
    rig.reason()
    assert caplog.messages == [
        "no data: alerts are not published (run 'opinionwatch status' to see what the alert role waits for)"
    ]
    rig.metrics.source_outage.set(3, "weibo")
    rig.detector.clear()
    assert (rig.detector.reason, rig.reason()) == (None, None), "the obstacles are forgotten"
    assert rig.metrics.registry.get_sample_value("opinionwatch_source_silent", {"source": "weibo"}) is None
    rig.obstacles[0].met("no store", rig.now)
    rig.now += 61
    assert rig.reason() == "no store"
    assert len(caplog.messages) == 2, "and again after it was gone"


def test_progress_that_is_missing_stuck_or_held_back_is_named_after_the_time_that_it_may_take() -> None:
    rig = Blind()
    rig.now = 1000.0
    assert rig.reason() is None, "this process does not evaluate"
    rig.leadership.begin()
    rig.leadership.take_over()
    rig.now = 1060.0
    assert rig.reason() is None
    rig.now = 1060.5
    assert rig.reason() == "no classify worker reports progress of t"
    rig.watermark.update([reported(0, 1, next_offset=3)], rig.now)
    assert rig.reason() == "no classify worker reports progress of t/1"
    rig.watermark.update([reported(1, 1)], rig.now)
    assert rig.reason() is None
    for _ in range(7):
        rig.now += 10
        rig.watermark.update([reported(0, 1, next_offset=3), reported(1, 1)], rig.now)
    assert rig.reason() == "posts wait in Kafka, but the index does not move: t/0"
    rig.watermark.update([reported(0, 1, next_offset=3, open_transaction=True)], rig.now)
    assert rig.reason() == "an uncommitted transaction holds back the records of t/0"
    rig.watermark.update([reported(0, 1)], rig.now)
    assert rig.reason() is None
    rig.now += 61
    assert rig.reason() == "no classify worker reports progress of t/0, t/1"
    rig.watermark.update([reported(0, 1), reported(1, 1)], rig.now)
    rig.sources.why = "too few sources"
    assert rig.reason() == "too few sources"


def test_what_is_complete_is_bounded_by_the_ceiling_the_horizon_and_the_sources(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    now, ceiling, sources = [0.0], list[datetime | None]([None]), Sources()
    stored = {("t", 0): reported(0, 5, next_offset=3, of=1), ("old", 0): reported(0, 5, topic="old")}
    store = SimpleNamespace(load_progress=lambda: stored)
    complete = Completeness(
        Watermark(10, ["t"]), cast(SourceMonitor, sources), cast(MonitoringStore, store), RETRY, lambda: ceiling[0],
        lambda: START + timedelta(minutes=60), lambda: now[0],
    )  # fmt: skip
    assert asyncio.run(complete.complete_to()) is None
    assert sources.looked == []
    sources.idle_s = 30.0
    asyncio.run(complete.restore(0.0))
    assert caplog.messages == ["verdicts do not wait for topics that left kafka.topics: old"]
    assert asyncio.run(complete.complete_to()) == START + timedelta(minutes=5)
    assert sources.looked.pop() == (START + timedelta(minutes=5), 30.0, 3), "it was idle before the take-over too"
    ahead = reported(0, 90, of=1)
    complete.update([ahead, reported(0, 1, topic="gone")])
    complete.update([ahead, reported(0, 1, topic="gone")])
    assert caplog.messages[1:] == ["progress of topic gone is ignored, because the topic is not in kafka.topics"]
    hour = START + timedelta(hours=1)
    assert asyncio.run(complete.complete_to()) == hour, "clocks that are ahead do not count"
    assert sources.looked.pop() == (hour, 0.0, 9)
    ceiling[0] = hour - timedelta(minutes=1)
    assert asyncio.run(complete.complete_to()) == ceiling[0]
    ceiling[0] = hour + timedelta(minutes=1)
    assert asyncio.run(complete.complete_to()) == hour
    assert not complete.lagging()
    complete.update([replace(ahead, end_offset=10)])
    assert complete.lagging()
    sources.why = "too few sources"
    assert asyncio.run(complete.complete_to()) is None


class Calibrates:
    """Stands in for `Evaluator` and for the store of states; `fails` is what a calibration raises."""

    def __init__(self, known: Calibration | None = None, fails: Exception | None = None) -> None:
        self.cursor: datetime | None = START
        self.calibration, self.fails = known, fails
        self.loaded = self.runs = 0
        self.saved: list[Any] = []
        self.shown: float | None = None

    def load_calibration(self) -> None:
        self.loaded += 1

    def calibrate(self, target: float) -> Calibration:
        self.runs += 1
        if self.fails is not None:
            raise self.fails
        return Calibration(START, target, {"under 10/h": Threshold(4.56, 0.01, 9.0)})

    def put_state(self, key: Any, value: Any) -> None:
        self.saved.append((key, value))


def schedule(role: Calibrates, now: list[float], metrics: Metrics | None = None, every: float = 7.0) -> Any:
    settings = AlertSettings(calibrate_every_days=every, target_false_alerts=0.05)
    gauges = AlertGauges(metrics or Metrics(), cast(Any, role), RETRY, lambda: now[0])
    return CalibrationSchedule(cast(Evaluator, role), cast(Any, role), settings, RETRY, gauges, lambda: now[0])


def test_thresholds_are_calibrated_when_the_last_are_old_and_asked_for_every_hour(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    role, now, metrics = Calibrates(), [50.0], Metrics()

    async def scenario() -> None:
        made = schedule(role, now, metrics)
        for seconds in (0.0, 0.0, CALIBRATE_CHECK_S - 1, 1.0):
            now[0] += seconds
            await made.run_when_due()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if role.loaded == 1:
                role.shown = metrics.registry.get_sample_value("opinionwatch_alert_threshold", {"tier": "under 10/h"})

    asyncio.run(scenario())
    assert (role.runs, role.loaded, CALIBRATE_CHECK_S) == (1, 2, 3600.0)
    found = Calibration(START, 0.05, {"under 10/h": Threshold(4.56, 0.01, 9.0)})
    assert (role.calibration, role.saved) == (found, [(CALIBRATION, found)])
    assert caplog.messages == ["thresholds calibrated: under 10/h 4.6"]
    assert role.shown == 4.56


@pytest.mark.parametrize(
    ("age_days", "every", "runs"), [(6.99, 7.0, 0), (7.0, 7.0, 1), (99.0, 0.0, 0), (None, 0.0, 0), (None, 7.0, 1)]
)
def test_a_calibration_is_due_by_the_age_of_the_last(age_days: float | None, every: float, runs: int) -> None:
    known = None if age_days is None else Calibration(START - timedelta(days=age_days), 0.05, {})

    async def scenario(role: Calibrates) -> None:
        await schedule(role, [0.0], every=every).run_when_due()
        await asyncio.sleep(0)

    role = Calibrates(known)
    asyncio.run(scenario(role))
    assert role.runs == runs
    role.cursor = None
    asyncio.run(scenario(role))
    assert role.runs == runs, "nothing is evaluated yet"


def test_too_little_history_is_no_bug_and_a_bug_ends_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def twice(role: Calibrates) -> None:
        made = schedule(role, [0.0])
        for _ in range(2):
            await made.run_when_due()
            await asyncio.sleep(0)

    little = Calibrates(fails=Fatal("too little history"))
    asyncio.run(twice(little))
    assert little.saved == []
    assert caplog.messages == ["thresholds are not calibrated: too little history"]
    with pytest.raises(ZeroDivisionError):
        asyncio.run(twice(Calibrates(fails=ZeroDivisionError())))


class Recorded:
    """Replaces the store, the evidence, the notifier and the topic of a recorder, and records each call."""

    def __init__(self, *alerts: Alert) -> None:
        self.alerts = {alert.id: alert for alert in alerts}
        self.calls: list[Any] = []
        publisher = AlertPublisher(self.publish, lambda: 0.0)
        this: Any = self
        self.recorder = AlertRecorder(this, cast(EvidenceReader, this), cast(Notifier, this), publisher, RETRY, 1.5)

    def alert(self, alert_id: str) -> Alert | None:
        return self.alerts.get(alert_id)

    def unsettled_alerts(self) -> list[Alert]:
        self.calls.append("unsettled")
        return list(self.alerts.values())

    def read(self, scope: Any, lane: str, start: datetime, end: datetime) -> Evidence:
        self.calls.append(("read", scope, lane, start, end))
        return Evidence(query="q")

    async def put(self, alerts: Any) -> None:
        self.calls.append(("put", [(alert.id, alert.state) for alert in alerts]))

    def send(self) -> None:
        self.calls.append("send")

    async def resume(self) -> None:
        self.calls.append("resume")

    async def publish(self, alert_id: str, record: Any) -> None:
        self.calls.append(("publish", alert_id, record["transition"], record["query"]))

    def run(self, call: Any) -> list[Any]:
        self.calls.clear()
        asyncio.run(call)
        return list(self.calls)


def test_events_are_stored_then_sent_then_published() -> None:
    rig = Recorded()
    events: Sequence[Event] = [event(), event()]
    start = PEAK.at.astimezone(UTC) - timedelta(seconds=PEAK.window_s)
    read = ("read", EPISODE.scope, "negative", start, PEAK.at)
    published = ("publish", EPISODE.id, "reminder", "q")
    assert rig.run(rig.recorder.record(events)) == [
        read, read, ("put", [(EPISODE.id, "open")]), "send", published, published,
    ]  # fmt: skip
    assert rig.run(rig.recorder.publish_waiting()) == []


def test_alerts_without_an_episode_are_closed_once_after_each_take_over() -> None:
    rig = Recorded(an_alert("followed"), an_alert("orphan"), an_alert("ended", state="resolved"))
    closed = ["unsettled", ("put", [("orphan", "resolved")]), "send"]
    assert rig.run(rig.recorder.close_orphans({"followed"}, START)) == closed
    assert rig.run(rig.recorder.close_orphans({"followed"}, START)) == []
    assert rig.run(rig.recorder.resume()) == ["resume"]
    assert rig.run(rig.recorder.close_orphans({"followed"}, START)) == closed


#: What a step waits for.
AWAITED = {"publish_waiting", "complete_to", "record", "close_orphans", "count_open", "count_open_when_due",
           "run_when_due"}  # fmt: skip


class Noting:
    """Takes the place of any part of a step and notes its calls; `answers` are what some of them return."""

    def __init__(self, calls: list[str], name: str, **answers: Any) -> None:
        self._calls, self._name, self._answers = calls, name, answers

    def __getattr__(self, call: str) -> Any:
        async def later() -> Any:
            return self._answers.get(call)

        def now(*_: object) -> Any:
            self._calls.append(f"{self._name}.{call}")
            return later() if call in AWAITED else self._answers.get(call)

        return now


def stepped(*, holds: bool, saved: bool) -> list[str]:
    """What a step calls where this process holds the partition, or not, and saves the evaluation, or is too late."""
    calls: list[str] = []
    evaluator: Any = Noting(calls, "evaluator", save=saved, advance=iter([[event()]]))
    evaluator.cursor, evaluator.unrecorded, evaluator.calibration = START, [], None
    leadership = Leadership(lambda: holds, lambda: 0.0)
    leadership.take_over()
    names = ("completeness", "recorder", "calibration", "gauges", "no_data")
    parts: dict[str, Any] = {name: Noting(calls, name, complete_to=START) for name in names}
    step = EvaluationStep(evaluator=evaluator, leadership=leadership, retry=RETRY, **parts)
    asyncio.run(step.run())
    assert leadership.taken_over is (holds and saved)
    return calls


def test_a_step_that_another_process_has_overtaken_records_nothing_and_lets_go() -> None:
    begun = ["recorder.publish_waiting", "completeness.complete_to", "evaluator.advance", "evaluator.save"]
    let_go = ["no_data.clear", "gauges.clear"]
    assert stepped(holds=True, saved=False) == [*begun, *let_go]
    assert stepped(holds=False, saved=True) == let_go
    whole = stepped(holds=True, saved=True)
    assert whole[:5] == [*begun, "recorder.record"]
    assert whole[-3:] == ["gauges.count_open_when_due", "no_data.check", "calibration.run_when_due"]
