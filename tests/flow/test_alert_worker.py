"""The alert role with faulty channels and restarts: none missed, and never twice without the same key."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from pipeline.alerting.clock import Clock
from pipeline.alerting.counting.source_monitor import EVERY_NO_DATA_S
from pipeline.alerting.counting.watermark import FETCH_S
from pipeline.alerting.detection.negative_share import DetectorConfig
from pipeline.alerting.evaluation.backtest import VOLUME_POLICY
from pipeline.alerting.evaluation.episodes import Policy
from pipeline.alerting.evaluation.evaluator import Evaluator
from pipeline.alerting.evaluation.volume_lane import VolumeLane
from pipeline.alerting.notify.channel import Notice
from pipeline.alerting.notify.false_alarms import closed_as_false_alarm
from pipeline.alerting.notify.notifier import Notifier
from pipeline.alerting.notify.status import notification_status, operators
from pipeline.alerting.worker import publisher
from pipeline.alerting.worker.alert_worker import AlertWorker
from pipeline.alerting.worker.publisher import Publish
from pipeline.domain.alert import Alert
from pipeline.domain.counting import BUCKET_S, NegativeDefinition
from pipeline.domain.errors import Fatal, Transient
from pipeline.domain.metrics import Metrics
from pipeline.domain.operator_state import OperatorState, operator_key
from pipeline.domain.post import EPOCH, ScoredPost
from pipeline.domain.progress import Progress
from pipeline.domain.states import StateKey, T
from pipeline.settings import AlertSettings
from pipeline.store.elasticsearch.templates import ALERTS, Layout, templates
from pipeline.store.sqlite.store import SqliteStore
from tests.builders import START, SURGE, as_dict, json_key, scored, surge

NOW = datetime(2026, 11, 24, tzinfo=UTC)


class FakeChannel:
    """Implements `Channel`; fails while `down`."""

    name = "fake"

    def __init__(self) -> None:
        self.down: Exception | None = None
        self.got: list[Notice] = []

    async def send(self, notice: Notice) -> None:
        if self.down:
            raise self.down
        self.got.append(notice)

    async def check(self) -> None:
        """Nothing to reach."""


@dataclass
class ManualClock:
    """Of the wall and monotonic; `pass_` moves both on."""

    at: datetime = NOW
    seconds: float = 1000.0

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.seconds

    def pass_(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)
        self.seconds += seconds


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    """Half a day in which everything about Nova turns bad after six hours: a cold start with a clear crisis."""
    made = SqliteStore(tmp_path / "store.sqlite")
    made.setup()
    made.index(
        [
            scored(
                i, minute=i, text=f"t{i}", sentiment="negative" if i > 360 and i % 5 else "neutral", subjects=["Nova"]
            )
            for i in range(720)
        ],
        START,
        1,
    )
    yield made
    made.close()


def evaluator_of(store: SqliteStore, volume: VolumeLane | None = None) -> Evaluator:
    return Evaluator(store, NegativeDefinition(), DetectorConfig(), Policy(), volume=volume)


def worker(
    store: SqliteStore,
    channel: FakeChannel,
    published: list[str],
    *,
    evaluator: Evaluator | None = None,
    settings: AlertSettings | None = None,
    clock: ManualClock | None = None,
    publish: Publish | None = None,
    holds: Callable[[], bool] = lambda: True,
    topics: Sequence[str] = (),
    metrics: Metrics | None = None,
) -> AlertWorker:
    """With progress of half a day, unless there are `topics`."""
    clock = clock or ManualClock()

    async def note(key: str, alert: Mapping[str, Any]) -> None:
        published.append(f"{key} {alert['transition']}")

    made = AlertWorker(
        store=store,
        evaluator=evaluator or evaluator_of(store),
        settings=settings or AlertSettings(),
        channels=[channel],
        publish=publish or note,
        holds=holds,
        topics=topics,
        metrics=metrics or Metrics(CollectorRegistry()),
        clock=Clock(clock.now, clock.monotonic, lambda _: asyncio.sleep(0)),
    )
    if not topics:
        made.on_progress([Progress("t", 0, 720, 720, START + timedelta(hours=12))])
    return made


def status_of(store: SqliteStore, alert: Alert | None, now: datetime) -> str:
    assert alert is not None
    return notification_status(alert, operators(store, [alert])[alert.id], now)


def tick(made: AlertWorker) -> None:
    asyncio.run(made.tick())


def test_an_alert_is_told_once_and_not_again_after_a_restart(store: SqliteStore) -> None:
    channel, published = FakeChannel(), list[str]()
    tick(worker(store, channel, published))
    first = [n.key for n in channel.got]
    assert first[0].startswith("subject:Nova@")
    assert first[0].endswith("#0-opened")
    assert len(set(first)) == len(first) == len(published)
    tick(worker(store, channel, published))
    assert [n.key for n in channel.got] == first
    status = store.alerts()[0].notifications
    assert status.pending == ()
    assert status.first_at == NOW


def test_a_surge_is_told_with_any_posts_as_evidence_and_no_share(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "surge.sqlite")
    store.setup()
    store.index(surge(), START, 1)
    channel = FakeChannel()
    made = worker(store, channel, [], evaluator=evaluator_of(store, VolumeLane(VOLUME_POLICY, [])))
    for number, end in enumerate(
        (*(SURGE + timedelta(minutes=m) for m in range(0, 90, 15)), START + timedelta(days=9))
    ):
        made.on_progress([Progress("t", 0, 5000 + number, 5000 + number, end)])
        tick(made)
    surges = [n.alert for n in channel.got if n.transition == "opened" and n.alert.lane == "volume"]
    (sent,) = [a for a in surges if a.started_at >= SURGE - timedelta(hours=1)]
    assert sent.key == "subject:Nova"
    assert sent.peak.share is sent.peak.expected_share is None
    assert sent.peak.observed == sent.peak.posts > 2 * sent.peak.expected
    assert len(sent.evidence) == 5
    assert any(store.post(e.id).labels["sentiment"] == "neutral" for e in sent.evidence)  # type: ignore[union-attr]
    assert "labels" not in sent.query
    assert sent.series is not None
    assert sent.series.posts[-1] > 3 * sent.series.posts[0]
    assert not [n for n in channel.got if n.alert.lane == "negative"]
    store.close()


class Killed(BaseException):
    """SIGKILL, as far as a test can send it."""


def crisis_in_halves(tmp_path: Path) -> tuple[SqliteStore, list[ScoredPost]]:
    """Nine days, then a crisis; half of its posts come late."""
    rng, begin = random.Random(5), 9 * 1440
    times = sorted(rng.uniform(0, begin) for _ in range(9 * 24 * 20))
    rows = [
        scored(
            i, minute=at, text=f"t{i}", subjects=["Nova"], sentiment="negative" if rng.random() < 0.15 else "neutral"
        )
        for i, at in enumerate(times)
    ]
    crisis = [
        scored(10_000 + i, minute=begin + 60 + i / 3, text=f"c{i}", sentiment="negative", subjects=["Nova"])
        for i in range(90)
    ]
    store = SqliteStore(tmp_path / "halves.sqlite")
    store.setup()
    store.index([*rows, *crisis[::2]], START, 1)
    return store, crisis[1::2]


@pytest.mark.parametrize("when", ["saved", "put", "told"])
def test_an_episode_keeps_its_identity_over_a_crash_with_late_posts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    store, late = crisis_in_halves(tmp_path)
    channel, begin = FakeChannel(), 9 * 1440
    before = worker(store, channel, [])
    before.on_progress([Progress("t", 0, 4000, 4000, START + timedelta(minutes=begin + 30))])
    tick(before)
    assert channel.got == []

    def dies(*_: object) -> None:
        raise Killed

    if when == "saved":
        monkeypatch.setattr(Notifier, "put", dies)
    elif when == "put":
        monkeypatch.setattr(Notifier, "send", dies)
    else:
        monkeypatch.setattr(channel, "send", lambda notice: dies(channel.got.append(notice)))
    before.on_progress([Progress("t", 0, 4001, 4001, START + timedelta(minutes=begin + 95))])
    with pytest.raises(Killed):
        tick(before)
    monkeypatch.undo()
    told_before = [n.key for n in channel.got]
    (saved,) = [e for e in (store.state(json_key("evaluator")) or {})["episodes"] if e["key"] == "subject:Nova"]
    store.index(late, START, 1)
    after = worker(store, channel, [])
    after.on_progress([Progress("t", 0, 4002, 4002, START + timedelta(minutes=begin + 95))])
    tick(after)
    keys = [n.key for n in channel.got]
    assert keys == told_before + (keys[-1:] if keys else [])
    assert len(set(keys)) == 1, "the same message under the same key, at the worst"
    assert keys[0].startswith(f"subject:Nova@{datetime.fromisoformat(saved['fired_at']):%Y%m%dT%H%MZ}#0-opened")
    calm = [scored(20_000 + i, minute=begin + 100 + i, text=f"l{i}", subjects=["Nova"]) for i in range(900)]
    store.index(calm, START, 1)
    after.on_progress([Progress("t", 0, 9999, 9999, START + timedelta(minutes=begin + 990))])
    tick(after)
    assert [a.state for a in store.alerts()] == ["resolved"]
    assert [n.transition for n in channel.got][-1] == "resolved"
    store.close()


def test_an_open_alert_whose_episode_is_lost_is_closed_with_a_note(store: SqliteStore) -> None:
    channel = FakeChannel()
    tick(worker(store, channel, []))
    (alert,) = [a for a in store.alerts() if a.key == "subject:Nova"]
    lost_id = "subject:Nova@20260221T0000Z"
    store.put_alert(replace(alert, id=lost_id, started_at=START - timedelta(days=9), revision=1, state="open"))
    tick(worker(store, channel, []))
    found = store.alert(lost_id)
    assert found is not None
    assert (found.state, found.note) == ("resolved", "closed without an end: the evaluation lost its episode")
    assert channel.got[-1].key.startswith("subject:Nova@20260221T0000Z#")
    assert channel.got[-1].transition == "resolved"
    told_of = len(channel.got)
    tick(worker(store, channel, []))
    assert len(channel.got) == told_of


def unmapped(document: Mapping[str, Any], properties: Mapping[str, Any]) -> set[str]:
    """The fields that an index with this strict mapping refuses."""
    found = {name for name in document if name not in properties}
    for name, value in document.items():
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, dict) and "properties" in properties.get(name, {}):
                found |= {f"{name}.{field}" for field in unmapped(part, properties[name]["properties"])}
    return found


def test_every_field_of_an_alert_stands_in_the_mapping_of_the_index(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    properties = as_dict(templates("standard", 0, Layout("month", None))[ALERTS].properties)
    written: list[dict[str, Any]] = []
    put = store.put_alert
    monkeypatch.setattr(store, "put_alert", lambda alert: (written.append(as_dict(alert.to_json())), put(alert))[1])
    channel = FakeChannel()
    channel.down = Transient("channel fake: down")
    clock = ManualClock()
    made = worker(store, channel, [], clock=clock)
    tick(made)
    channel.down = Fatal("channel fake: status 404", "check")
    clock.pass_(60)
    tick(made)
    (alert,) = store.alerts()
    store.put_alert(closed_as_false_alarm(alert, "ann", "note", NOW))
    state = store.state(json_key("evaluator")) or {}
    store.put_state(json_key("evaluator"), {**state, "episodes": []})
    store.put_alert(Alert.from_json("orphan", {**written[0], "key": "subject:Orphan"}))
    tick(worker(store, channel, []))
    assert any(a.get("false_alarm") for a in written)
    assert any(a["note"] for a in written)
    assert {field for a in written for field in unmapped(a, properties)} == set()


def test_people_are_told_while_the_topic_of_alerts_takes_nothing(store: SqliteStore) -> None:
    channel = FakeChannel()
    asked = asyncio.Event()

    async def refuses(key: str, alert: Mapping[str, Any]) -> None:
        asked.set()
        await asyncio.Event().wait()

    made = worker(store, channel, [], publish=refuses)

    async def run() -> None:
        running = asyncio.create_task(made.run())
        async with asyncio.timeout(20):
            while not channel.got:
                await asyncio.sleep(0.01)
        assert asked.is_set()
        running.cancel()

    asyncio.run(run())


def test_a_crash_after_sending_before_the_cursor_repeats_nothing(store: SqliteStore) -> None:
    channel, published = FakeChannel(), list[str]()
    tick(worker(store, channel, published))
    first = [n.key for n in channel.got]
    store.database.connection.execute("DELETE FROM state")
    tick(worker(store, channel, published))
    assert [n.key for n in channel.got] == first


def test_a_channel_that_was_down_hears_how_things_stand(store: SqliteStore) -> None:
    channel = FakeChannel()
    channel.down = Transient("channel fake: 503")
    clock = ManualClock()
    made = worker(store, channel, [], clock=clock)
    tick(made)
    assert channel.got == []
    (alert,) = [a for a in store.alerts() if a.key == "subject:Nova"]
    status = alert.notifications
    assert (status.pending, status.first_at) == (("fake",), None)
    assert [(d.channel, d.state, d.detail) for d in status.deliveries or ()] == [("fake", "retrying", "503")]
    assert status_of(store, alert, NOW) == "not notified yet: fake retries after 1 try (503)"
    channel.down = None
    clock.pass_(60)
    tick(made)
    (notice,) = channel.got
    assert (notice.transition, notice.key) == ("opened", f"{alert.id}#{alert.sequence}-opened")
    assert notice.alert.severity == alert.severity
    assert store.alerts()[0].notifications.pending == ()
    clock.pass_(60)
    tick(made)
    assert len(channel.got) == 1


def test_what_a_receiver_refuses_is_not_told_and_tried_again(store: SqliteStore) -> None:
    channel = FakeChannel()
    channel.down = Fatal("channel fake: status 404", "check the URL")
    clock, metrics = ManualClock(), Metrics(CollectorRegistry())
    made = worker(store, channel, [], clock=clock, metrics=metrics)
    tick(made)
    (alert,) = [a for a in store.alerts() if a.key == "subject:Nova"]
    assert (alert.notifications.pending, alert.notifications.first_at) == (("fake",), None)
    assert status_of(store, alert, NOW) == "nobody was notified: fake refused it (status 404; check the URL)"
    clock.pass_(60)
    tick(made)
    assert metrics.registry.get_sample_value("opinionwatch_alerts_unnotified") == 1, "it is open"
    channel.down = None
    tick(made)
    assert channel.got == [], "it is left alone for an hour"
    clock.pass_(3540)
    tick(made)
    assert [n.transition for n in channel.got] == ["opened"]
    assert status_of(store, store.alert(alert.id), NOW).startswith("notified 24 Nov 01:00")
    clock.pass_(60)
    tick(made)
    assert metrics.registry.get_sample_value("opinionwatch_alerts_unnotified") == 0


def test_a_standby_does_nothing(store: SqliteStore) -> None:
    channel = FakeChannel()
    made = worker(store, channel, [], holds=lambda: False)
    tick(made)
    assert channel.got == []
    assert store.alerts() == []


def crowd(store: SqliteStore, keys: int) -> None:
    """Many subjects turn bad in the same hour, each in posts of its own and in a topic of its own."""
    posts = []
    for key in range(keys):
        for i in range(720):
            bad = i > 600 and i % 5
            posts.append(
                scored(
                    100_000 + key * 1000 + i,
                    minute=i,
                    text=f"k{key} t{i}",
                    sentiment="negative" if bad else "neutral",
                    subjects=[f"Subject {key}"],
                    topic=f"topic{key}",
                )
            )
    store.index(posts, START, 1)


def test_many_keys_at_once_are_one_message(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "crowd.sqlite")
    store.setup()
    crowd(store, 8)
    channel, published = FakeChannel(), list[str]()
    made = worker(store, channel, published)
    tick(made)
    opened = [n for n in channel.got if n.transition == "opened"]
    assert len(opened) == 1
    assert opened[0].alert.key == "8 keys"
    assert set(opened[0].alert.related) == {f"subject:Subject {k}" for k in range(8)}
    assert len({p for p in published if p.endswith("opened")}) == 8, "each transition stands in the topic"
    assert all(a.notifications.pending == () and a.notifications.first_at for a in store.alerts())
    store.close()


def test_what_is_snoozed_waits(store: SqliteStore) -> None:
    channel, published, clock = FakeChannel(), list[str](), ManualClock()
    channel.down = Transient("503")
    made = worker(store, channel, published, clock=clock)
    tick(made)
    channel.down = None
    clock.pass_(60)
    alert_id = store.alerts()[0].id
    store.put_state(operator_key(alert_id), OperatorState.from_json({"snoozed_until": "2026-11-24T01:00:00+00:00"}))
    tick(made)
    assert channel.got == []
    assert (store.alert(alert_id).notifications.held or "").startswith("snoozed until")  # type: ignore[union-attr]
    told = len(published)
    tick(made)
    assert len(published) == told, "waiting repeats nothing in the topic"
    clock.pass_(3600)
    tick(made)
    assert [n.transition for n in channel.got][:1] in (["opened"], ["resolved"])
    assert store.alert(alert_id).notifications.pending == ()  # type: ignore[union-attr]


def test_it_says_that_it_is_blind_where_nobody_speaks_of_a_partition(store: SqliteStore) -> None:
    channel = FakeChannel()
    clock = ManualClock()
    made = worker(store, channel, [], clock=clock, topics=["t", "u"])
    made.on_progress([Progress("t", 0, 720, 720, START + timedelta(hours=12), partitions=2)])
    tick(made)
    assert channel.got == [], "posts may wait in t/1 or in u"
    assert made.no_data is None, "not yet: the workers may be starting"
    clock.pass_(400)
    tick(made)
    assert made.no_data == "no classify worker reports progress of t/0, t/1, u"
    made.on_progress([Progress("t", 1, 0, 0, EPOCH, partitions=2), Progress("u", 0, 0, 0, EPOCH, partitions=1)])
    made.on_progress([Progress("t", 0, 720, 720, START + timedelta(hours=12), partitions=2)])
    tick(made)
    assert made.no_data is None


def hourly(store: SqliteStore, source: str, hours: int, start: int) -> None:
    store.index(
        [
            scored(start + i, minute=4 * i, text=f"{source} {i}", source=source, id=f"{source}{i}")
            for i in range(hours * 15)
        ],
        START,
        1,
    )


@pytest.fixture
def half_silent(tmp_path: Path) -> Iterator[SqliteStore]:
    """Four days of three sources, two of which said nothing in the last six hours."""
    made = SqliteStore(tmp_path / "half-silent.sqlite")
    made.setup()
    for number, (source, hours) in enumerate((("weibo", 90), ("weibo-too", 90), ("small", 96))):
        hourly(made, source, hours, 10_000 * number)
    yield made
    made.close()


@pytest.mark.parametrize(("retired", "no_data"), [([], True), (["weibo"], False)])
def test_no_verdict_while_most_of_what_comes_usually_does_not_come(
    half_silent: SqliteStore, caplog: pytest.LogCaptureFixture, retired: list[str], no_data: bool
) -> None:
    evaluator = evaluator_of(half_silent)
    settings = AlertSettings(retired_sources=["weibo-too", *retired], no_data_share=0.3)
    made = worker(half_silent, FakeChannel(), [], evaluator=evaluator, settings=settings)
    made.on_progress([Progress("t", 0, 9999, 9999, START + timedelta(hours=96))])
    tick(made)
    assert (evaluator.cursor is None) is no_data
    assert bool(made.no_data and "nothing comes from weibo" in made.no_data) is no_data
    assert [s["source"] for s in (half_silent.state(json_key("silent_sources")) or {})["sources"]] == (
        ["weibo"] if no_data else []
    )
    assert ("source 'weibo' has sent nothing since 2026-03-05T18:00:00+00:00" in caplog.text) is no_data


def test_when_the_source_speaks_again_the_verdicts_go_on_where_they_stopped(half_silent: SqliteStore) -> None:
    evaluator, clock = evaluator_of(half_silent), ManualClock()
    made = worker(half_silent, FakeChannel(), [], evaluator=evaluator, clock=clock)
    made.on_progress([Progress("t", 0, 9999, 9999, START + timedelta(hours=96))])
    tick(made)
    assert made.no_data
    hourly(half_silent, "weibo", 96, 0)
    hourly(half_silent, "weibo-too", 96, 10_000)
    clock.pass_(EVERY_NO_DATA_S)
    tick(made)
    assert made.no_data is None, "within seconds, not with the next look at all sources"
    assert evaluator.cursor == START + timedelta(hours=96)


@pytest.mark.parametrize(("came_since", "no_data"), [(0, True), (15, False)])
def test_a_silence_is_as_long_for_a_process_that_takes_over(tmp_path: Path, came_since: int, no_data: bool) -> None:
    store = SqliteStore(tmp_path / "silent.sqlite")
    store.setup()
    hourly(store, "weibo", 90, 0)
    progress = Progress("t", 0, 9999, 9999, START + timedelta(hours=90))
    before = worker(store, FakeChannel(), [])
    before.on_progress([progress])
    tick(before)
    assert before.no_data is None, "its last post was a moment ago"
    progress = replace(progress, next_offset=9999 + came_since, end_offset=9999 + came_since)
    store.save_progress([progress])
    clock = ManualClock(NOW + timedelta(hours=6))
    after = worker(store, FakeChannel(), [], clock=clock)
    after.on_progress([progress])
    tick(after)
    clock.pass_(FETCH_S)
    after.on_progress([progress])  # the worker's next report
    tick(after)
    assert bool(after.no_data and "nothing comes from weibo" in after.no_data) is no_data
    store.close()


@pytest.mark.parametrize("joined", [0, 4])
def test_what_one_author_writes_is_told_when_others_join(tmp_path: Path, joined: int) -> None:
    store = SqliteStore(tmp_path / "troll.sqlite")
    store.setup()
    rows = [
        scored(
            i,
            minute=i,
            text=f"t{i}",
            author="troll" if i > 360 else f"a{i}",
            sentiment="negative" if i > 360 and i % 5 else "neutral",
            subjects=["Nova"],
        )
        for i in range(720)
    ]
    store.index(rows, START, 1)
    channel, clock = FakeChannel(), ManualClock()
    every_post = Evaluator(store, NegativeDefinition(posts_per_voice=0), DetectorConfig(), Policy())
    settings = AlertSettings(min_authors=4, posts_per_voice=0)
    made = worker(store, channel, [], evaluator=every_post, settings=settings, clock=clock)
    tick(made)
    assert channel.got == []
    (alert,) = store.alerts()
    assert alert.notifications.held == "1 of 4 authors (alerts.min_authors)"
    more = [
        scored(1000 + i, minute=700, text=f"me too {i}", author=f"b{i}", sentiment="negative", subjects=["Nova"])
        for i in range(joined)
    ]
    store.index(more, START, 1)
    clock.pass_(30)
    tick(made)
    assert bool(channel.got) is bool(joined)
    assert all((p := notice.alert.source_profile) and p.distinct_authors == 5 for notice in channel.got)
    store.close()


def test_who_lost_the_evaluation_while_it_told_people_puts_no_older_alert_back(store: SqliteStore) -> None:
    """A channel takes its time; meanwhile another process takes over and sees the end of the episode."""

    class Slow(FakeChannel):
        def __init__(self) -> None:
            super().__init__()
            self.asked, self.answers = asyncio.Event(), asyncio.Event()

        async def send(self, notice: Notice) -> None:
            self.asked.set()
            await self.answers.wait()
            await super().send(notice)

    slow, channel = Slow(), FakeChannel()

    def told_of_nova() -> list[str]:
        return [n.transition for n in channel.got if n.alert.key == "subject:Nova"]

    async def both() -> None:
        before = Evaluator(store, NegativeDefinition(), DetectorConfig(), Policy())
        before.resume()
        assert not [event for chunk in before.advance(START + timedelta(hours=5)) for event in chunk]
        before.save()
        first = worker(store, slow, [])
        late = asyncio.create_task(first.tick())
        await slow.asked.wait()
        store.index([scored(i, minute=i, text=f"t{i}", subjects=["Nova"]) for i in range(720, 2160)], START, 1)
        second = worker(store, channel, [])
        second.on_progress([Progress("t", 0, 2160, 2160, START + timedelta(hours=36))])
        await second.tick()
        assert told_of_nova()[-1] == "resolved"
        slow.answers.set()
        await late

    asyncio.run(both())
    (alert,) = [a for a in store.alerts() if a.key == "subject:Nova"]
    assert (alert.state, alert.notifications.pending) == ("resolved", ())
    assert told_of_nova()[-1] == "resolved"


def test_what_maintenance_drops_says_that_nobody_was_told(store: SqliteStore) -> None:
    window = {"start": NOW - timedelta(hours=1), "end": NOW + timedelta(hours=1), "reason": "a move"}
    channel = FakeChannel()
    tick(worker(store, channel, [], settings=AlertSettings(maintenance=[window])))  # type: ignore[list-item]
    assert channel.got == []
    (alert,) = [a for a in store.alerts() if a.key == "subject:Nova"]
    assert (alert.notifications.pending, alert.notifications.first_at) == ((), None)
    line = status_of(store, alert, NOW)
    assert line == "nobody was notified: maintenance until 2026-11-24T01:00:00+00:00: a move"


def test_what_people_said_stands_beside_what_they_were_told(store: SqliteStore) -> None:
    channel = FakeChannel()
    tick(worker(store, channel, []))
    (alert,) = [a for a in store.alerts() if a.key == "subject:Nova"]
    said = {"acknowledged_at": NOW.isoformat(), "acknowledged_by": "ann", "snoozed_by": "bob", "snooze_reason": "known"}
    until = (NOW + timedelta(hours=4)).isoformat()
    store.put_state(operator_key(alert.id), OperatorState.from_json({**said, "snoozed_until": until}))
    line = status_of(store, alert, NOW)
    assert line == "notified 24 Nov 00:00; acknowledged by ann 24 Nov 00:00; snoozed until 24 Nov 04:00 by bob: known"
    assert "snoozed" not in status_of(store, alert, NOW + timedelta(hours=5))


def test_who_loses_the_evaluation_tells_nobody_and_the_next_goes_on_from_what_was_saved(store: SqliteStore) -> None:
    channel = FakeChannel()
    made = worker(store, channel, [], holds=lambda: store.state(json_key("evaluator")) is None)
    tick(made)
    assert channel.got == []
    assert (store.state(json_key("evaluator")) or {})["unrecorded"] == []
    tick(worker(store, channel, []))
    assert channel.got
    assert len({n.key for n in channel.got}) == len(channel.got)


def test_who_was_frozen_and_thinks_it_evaluates_overwrites_nothing(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that both hold the progress partition, as one process that was stopped for minutes believes it does."""
    channel = FakeChannel()
    evaluator = evaluator_of(store)
    frozen = worker(store, channel, [], evaluator=evaluator)
    with monkeypatch.context() as stopped:
        stopped.setattr(evaluator, "advance", lambda watermark: iter(()))
        tick(frozen)
    tick(worker(store, channel, []))
    saved, told = store.state(json_key("evaluator")) or {}, [n.key for n in channel.got]
    assert told
    saved["cursor"] += BUCKET_S
    store.put_state(json_key("evaluator"), saved)  # it goes on
    tick(frozen)
    assert store.state(json_key("evaluator")) == saved
    assert not frozen.leads, "it begins again, from what the other saved"
    tick(frozen)
    assert [n.key for n in channel.got] == told


@pytest.mark.parametrize("lag", [0, 7])
def test_progress_of_a_topic_that_left_the_settings_keeps_no_verdict(store: SqliteStore, lag: int) -> None:
    former = Progress("former", 0, 500, 500 + lag, START + timedelta(hours=1), indexed=500, partitions=1)
    store.save_progress([former])
    now = Progress("t", 0, 720, 720, START + timedelta(hours=12), partitions=1)
    channel, clock = FakeChannel(), ManualClock()
    made = worker(store, channel, [], clock=clock, topics=["t"])
    made.on_progress([now, former])
    tick(made)
    assert channel.got
    clock.pass_(400)
    tick(made)
    assert made.no_data == "no classify worker reports progress of t/0"


def test_who_lost_the_evaluation_says_nothing_of_it_any_more(store: SqliteStore) -> None:
    holds, metrics, clock = [True], Metrics(CollectorRegistry()), ManualClock()
    made = worker(store, FakeChannel(), [], holds=lambda: holds[0], metrics=metrics, clock=clock)
    tick(made)
    clock.pass_(400)
    tick(made)
    assert made.no_data
    metrics.source_outage.set(3, "wire")
    metrics.evaluation_lag.set(9)
    metrics.threshold.labels("under 10/h").set(5)
    holds[0] = False
    tick(made)
    assert made.no_data is None
    found = {s.name: s.value for f in metrics.registry.collect() for s in f.samples}
    assert (found["opinionwatch_alert_no_data"], found["opinionwatch_alert_evaluation_lag_seconds"]) == (0, 0)
    gone = ("alerts_open", "alert_threshold", "alert_backtested_rate", "source_outage_missing_posts", "source_silent")
    assert not [name for name in gone if f"opinionwatch_{name}" in found]


class Away(SqliteStore):
    """Does not answer while it is away."""

    away = False

    def state(self, key: StateKey[T]) -> T | None:
        if self.away:
            raise Transient("store cannot be reached: ConnectionError")
        return super().state(key)


def test_while_the_store_does_not_answer_it_is_blind_and_afterwards_it_is_not(tmp_path: Path) -> None:
    away = Away(tmp_path / "s.sqlite")
    away.setup()
    away.away = True
    metrics = Metrics(CollectorRegistry())
    made = worker(away, FakeChannel(), [], settings=AlertSettings(no_data_after_s=60), metrics=metrics)

    async def scenario() -> None:
        running = asyncio.create_task(made.run())
        for _ in range(2000):
            await asyncio.sleep(0.001)
            if made.no_data:
                break
        assert made.no_data == "store cannot be reached: ConnectionError"
        assert metrics.registry.get_sample_value("opinionwatch_alert_no_data") == 1
        away.away = False
        for _ in range(5000):
            await asyncio.sleep(0.001)
            if not made.no_data:
                break
        assert made.no_data is None
        running.cancel()

    asyncio.run(scenario())
    away.close()


@pytest.mark.parametrize(
    "error", [Transient("Kafka does not answer"), Fatal("this user may not write opinion.alerts", "grant it"), None]
)
def test_people_are_told_whether_or_not_the_topic_takes_the_record(
    store: SqliteStore, error: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None: it never answers."""
    monkeypatch.setattr(publisher, "PUBLISH_S", 0.01)
    channel, published, refuses, clock = FakeChannel(), list[str](), [True], ManualClock()

    async def refusing(key: str, alert: Mapping[str, Any]) -> None:
        if refuses[0] and error is None:
            await asyncio.Event().wait()
        if refuses[0] and error is not None:
            raise error
        published.append(f"{key} {alert['transition']}")

    settings = AlertSettings(no_data_after_s=60)
    made = worker(store, channel, [], clock=clock, publish=refusing, settings=settings)
    tick(made)
    assert channel.got
    assert published == []
    clock.pass_(61)
    made.on_progress([Progress("t", 0, 720, 720, START + timedelta(hours=12))])
    tick(made)
    assert (made.no_data or "").startswith("alerts are not published")
    told = len(channel.got)
    refuses[0] = False
    tick(made)
    assert len(published) >= told
    assert made.no_data is None
