"""Who hears of an alert where channels are down, slow, refusing, not routed, mended or new: the store is real."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from pipeline.alerting.alerts.evidence import EvidenceReader
from pipeline.alerting.notify.changes import due_now
from pipeline.alerting.notify.channel import Channel, Notice
from pipeline.alerting.notify.channels.alertmanager import OPEN_FOR, REFRESH_S, AlertmanagerChannel
from pipeline.alerting.notify.channels.answers import Answer
from pipeline.alerting.notify.channels.rate_limit import RateLimit
from pipeline.alerting.notify.factory import make_channels
from pipeline.alerting.notify.false_alarms import closed_as_false_alarm, reopened
from pipeline.alerting.notify.notifier import Notifier
from pipeline.alerting.notify.queue import MAX_REFUSALS
from pipeline.alerting.notify.status import by_channel, notification_status, operators
from pipeline.domain.alert import Alert
from pipeline.domain.counting import NegativeDefinition
from pipeline.domain.delivery import NotificationStatus
from pipeline.domain.errors import Fatal, Transient
from pipeline.domain.metrics import Metrics
from pipeline.domain.operator_state import OperatorState, operator_key
from pipeline.settings import AlertSettings
from pipeline.store.sqlite.store import SqliteStore
from tests.builders import an_alert

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def document(key: str, *, severity: str = "critical", at: datetime = NOW, **more: Any) -> Alert:
    """An open alert on this key, with these fields of its JSON in place of the usual ones."""
    usual = {
        "topic": "", "subject": key, "observed": 30, "posts": 40, "expected": 3.0, "lift": 10.0, "score": 9.0,
        "share": 0.75, "expected_share": 0.1, "model": "m 1", "query": "q", "fire": 4.0,
    }  # fmt: skip
    return an_alert(key, **{**usual, "key": key, "severity": severity, "started_at": at.isoformat(), **more})


def named(alert_id: str, alert: Alert) -> Alert:
    return replace(alert, id=alert_id)


@dataclass
class Fake:
    """Implements `Channel`; raises `fails` while it is set, after `takes_s` seconds of `clock`."""

    name: str
    fails: Exception | None = None
    got: list[Notice] = field(default_factory=list)
    tries: int = 0

    async def send(self, notice: Notice) -> None:
        self.tries += 1
        if self.fails is not None:
            raise self.fails
        self.got.append(notice)

    async def check(self) -> None:
        """Nothing to reach."""

    def keys(self) -> list[str]:
        return [n.key for n in self.got]


class Rig:
    """A notifier over a real store, with clocks that stand until `pass_`."""

    def __init__(self, store: SqliteStore, *channels: Channel, settings: AlertSettings | None = None) -> None:
        self.store, self.at, self.seconds, self.registry = store, NOW, 0.0, CollectorRegistry()
        self.holds = True
        self.channels, self._settings = channels, settings or AlertSettings()
        self.notifier = self.started()

    def started(self) -> Notifier:
        async def retry(call: Any) -> Any:
            return call()

        return Notifier(
            store=self.store, evidence=EvidenceReader(self.store, NegativeDefinition()), settings=self._settings,
            channels=self.channels, rules=[], metrics=Metrics(self.registry), retry=retry, holds=lambda: self.holds,
            reached=lambda: None, now=lambda: self.at, monotonic=lambda: self.seconds,
        )  # fmt: skip

    def put(self, **documents: Alert) -> None:
        async def both() -> None:
            await self.notifier.put(named(alert_id, alert) for alert_id, alert in documents.items())
            await self.notifier.deliver()

        asyncio.run(both())

    def pass_(self, seconds: float) -> None:
        """The clocks go on, and every channel has its round."""
        self.at += timedelta(seconds=seconds)
        self.seconds += seconds
        asyncio.run(self.notifier.deliver())

    def restart(self, *channels: Channel) -> None:
        """Another process, with these channels, takes over."""
        self.channels, self.registry = channels or self.channels, CollectorRegistry()
        self.notifier = self.started()

        async def both() -> None:
            await self.notifier.resume()
            await self.notifier.deliver()

        asyncio.run(both())

    def alert(self, alert_id: str) -> Alert:
        alert = self.store.alert(alert_id)
        assert alert is not None
        return alert

    def status(self, alert_id: str) -> NotificationStatus:
        return self.alert(alert_id).notifications

    def told(self, alert_id: str) -> str:
        alert = self.alert(alert_id)
        return notification_status(alert, operators(self.store, [alert])[alert_id], self.at)

    def change(self, alert_id: str, change: Callable[[Alert], Alert]) -> None:
        alert = self.alert(alert_id)
        assert self.store.put_alert(replace(change(alert), revision=(alert.revision or 0) + 1))

    def sample(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(tmp_path / "store.sqlite")
    made.setup()
    yield made
    made.close()


def test_what_a_channel_took_is_not_sent_to_it_again_because_another_is_down(store: SqliteStore) -> None:
    good, down = Fake("good"), Fake("down", Transient("channel down: TimeoutError"))
    rig = Rig(store, good, down)
    rig.put(a=document("a"))
    for _ in range(120):
        rig.pass_(30)
    assert good.keys() == ["a#0-opened"]
    assert 60 < down.tries <= 121
    assert (
        rig.told("a")
        == f"notified 27 Nov 12:00; update not sent yet: down retries after {down.tries} tries (TimeoutError)"
    )
    down.fails = None
    rig.pass_(30)
    assert (good.keys(), down.keys()) == (["a#0-opened"], ["a#0-opened"])
    assert rig.status("a").pending == ()


def test_many_at_once_are_one_message_under_one_key_after_an_outage_too(store: SqliteStore) -> None:
    good, down = Fake("good"), Fake("down", Transient("later"))
    rig = Rig(store, good, down)
    rig.put(**{f"k{i}": document(f"k{i}") for i in range(10)})
    (group,) = good.got
    assert (group.alert.key, len(group.alert.related)) == ("10 keys", 10)
    rig.put(joined=document("joined"))
    down.fails = None
    rig.pass_(60)
    assert down.keys() == [group.key, "joined#0-opened"]
    assert good.keys() == [group.key, "joined#0-opened"]


def test_what_adds_up_while_a_channel_is_down_is_not_told_one_by_one(store: SqliteStore) -> None:
    down = Fake("down", Transient("later"))
    rig = Rig(store, down)
    for i in range(40):
        rig.put(**{f"k{i}": document(f"k{i}")})
        rig.pass_(60)
    down.fails = None
    rig.pass_(60)
    assert sorted(len(n.alert.related) for n in down.got) == [6, 34], "those that were tried together stay together"


def test_catching_up_tells_how_it_stands_and_not_what_happened(store: SqliteStore) -> None:
    channel = Fake("c", Transient("later"))
    rig = Rig(store, channel)
    rig.put(a=document("a", severity="warning"), b=document("b", severity="warning"))
    rig.put(a=document("a", sequence=1), b=document("b", sequence=1))
    rig.put(b=document("b", sequence=2))
    rig.put(b=document("b", sequence=3, state="resolved", resolved_at=NOW.isoformat()))
    channel.fails = None
    rig.pass_(60)
    assert channel.keys() == ["a#1-opened", "b#3-resolved"]
    assert channel.got[0].alert.severity == "critical"


def test_each_transition_of_a_channel_in_order_is_told_once(store: SqliteStore) -> None:
    channel = Fake("c")
    rig = Rig(store, channel)
    rig.put(a=document("a", severity="warning"))
    rig.put(a=document("a", sequence=1))
    rig.put(a=document("a", sequence=2))
    rig.put(a=document("a", sequence=2, observed=99))
    rig.put(a=document("a", sequence=3, state="resolved", resolved_at=NOW.isoformat()))
    rig.restart()
    assert channel.keys() == ["a#0-opened", "a#1-escalated", "a#2-reminder", "a#3-resolved"]


def test_a_channel_that_hangs_keeps_nobody_waiting(store: SqliteStore) -> None:
    class Hangs(Fake):
        async def send(self, notice: Notice) -> None:
            await asyncio.Event().wait()

    good = Fake("good")
    rig = Rig(store, Hangs("hangs"), good)

    async def both() -> None:
        running = asyncio.create_task(rig.notifier.run())
        for i in range(40):
            await rig.notifier.put([document(f"k{i}")])
            rig.notifier.send()
            await asyncio.sleep(0)
        async with asyncio.timeout(20):
            while sum(len(n.alert.related) or 1 for n in good.got) < 40:
                await asyncio.sleep(0.01)
        running.cancel()

    asyncio.run(both())


def test_a_refusal_is_not_told_says_why_and_is_tried_again_after_an_hour_or_a_restart(store: SqliteStore) -> None:
    refuses = Fake("oncall", Fatal("channel oncall: status 404, no_service", "check the URL"))
    rig = Rig(store, refuses)
    assert rig.sample("opinionwatch_notifications_total", channel="oncall", outcome="refused") == 0, "before the first"
    rig.put(a=document("a"))
    assert rig.told("a") == "nobody was notified: oncall refused it (status 404, no_service; check the URL)"
    assert rig.status("a").unnotified == "oncall: refused, status 404, no_service; check the URL"
    assert store.open_alerts()["unnotified"] == 1
    assert rig.sample("opinionwatch_notifications_total", channel="oncall", outcome="refused") == 1
    rig.pass_(3590)
    assert refuses.tries == 1
    rig.pass_(10)
    assert refuses.tries == 2
    refuses.fails = None
    rig.restart()
    assert refuses.keys() == ["a#0-opened"]
    assert rig.told("a").startswith("notified 27 Nov 13:00")
    assert store.open_alerts()["unnotified"] == 0


def test_a_receiver_that_refuses_everything_is_not_stormed(store: SqliteStore) -> None:
    refuses = Fake("c", Fatal("channel c: status 403", "check"))
    rig = Rig(store, refuses, settings=AlertSettings(group_above=1000))
    rig.put(**{f"k{i}": document(f"k{i}") for i in range(50)})
    assert refuses.tries == MAX_REFUSALS
    assert all(rig.status(f"k{i}").unnotified for i in range(50)), "each says so"


def test_one_message_that_is_refused_keeps_no_other_back(store: SqliteStore) -> None:
    class Picky(Fake):
        async def send(self, notice: Notice) -> None:
            if notice.alert.key == "bad":
                raise TypeError("a bug in one message, with the text of a post")
            await super().send(notice)

    channel = Picky("c")
    rig = Rig(store, channel)
    rig.put(a=document("bad"), b=document("b"))
    assert channel.keys() == ["b#0-opened"]
    (line,) = by_channel(rig.alert("a"))
    assert line == "c: refused 27 Nov 12:00: failed with TypeError in send"


def test_one_message_that_never_goes_through_does_not_stop_the_queue(store: SqliteStore) -> None:
    class Picky(Fake):
        async def send(self, notice: Notice) -> None:
            if notice.alert.key == "bad":
                raise Transient("channel c: status 500")
            await super().send(notice)

    channel = Picky("c")
    rig = Rig(store, channel)
    rig.put(a=document("bad", at=NOW - timedelta(hours=1)), b=document("b"), c=document("c"))
    rig.pass_(60)
    assert channel.keys() == ["b#0-opened", "c#0-opened"]


@pytest.mark.parametrize("error", [Fatal("channel c: status 400", "check"), Transient("channel c: status 500")])
def test_messages_that_never_go_through_hold_up_no_later_one(store: SqliteStore, error: Exception) -> None:
    class Picky(Fake):
        async def send(self, notice: Notice) -> None:
            if notice.alert.key.startswith("bad") and notice.transition in self.refuses:
                raise error
            await super().send(notice)

        refuses: frozenset[str] = frozenset({"opened"})

    channel = Picky("c")
    rig = Rig(store, channel, settings=AlertSettings(group_above=1000))
    bad = {f"bad{i}": document(f"bad{i}", severity="warning", at=NOW - timedelta(hours=1)) for i in range(MAX_REFUSALS)}
    rig.put(**bad, good=document("good"))
    for _ in range(MAX_REFUSALS + 2):
        rig.pass_(3600)
    assert channel.keys() == ["good#0-opened"]
    channel.refuses = frozenset()
    for _ in range(MAX_REFUSALS):
        rig.pass_(3600)
    channel.refuses = frozenset({"escalated"})
    rig.put(**{name: replace(alert, severity="critical", sequence=1) for name, alert in bad.items()})
    rig.put(late=document("late"))
    for _ in range(MAX_REFUSALS + 2):
        rig.pass_(3600)
    assert channel.keys()[-1] == "late#0-opened"


def test_what_was_not_tried_is_not_said_to_be_refused_in_those_words(store: SqliteStore) -> None:
    rig = Rig(store, Fake("c", Fatal("channel c: status 403", "check")), settings=AlertSettings(group_above=1000))
    rig.put(**{f"k{i}": document(f"k{i}") for i in range(MAX_REFUSALS + 1)})
    details = [rig.status(f"k{i}").by_channel["c"] for i in range(MAX_REFUSALS + 1)]
    assert [d.attempts for d in details] == [1] * MAX_REFUSALS + [0]
    assert details[-1].detail == f"not tried after {MAX_REFUSALS} refusals: status 403; check"


def test_without_a_channel_or_a_route_it_says_that_nobody_was_notified(store: SqliteStore) -> None:
    rig = Rig(store, *make_channels(AlertSettings()))
    rig.put(a=document("a"))
    assert rig.told("a") == "nobody was notified: no channel is configured (alerts.channels)"
    assert rig.status("a").first_at is None
    hook = {"name": "oncall", "kind": "webhook", "url": "https://a.example", "severities": ["critical"]}
    routed = make_channels(AlertSettings(channels=[hook]))  # type: ignore[list-item]
    sent = Fake("oncall")
    routed[1].channel = sent  # type: ignore[attr-defined]
    rig.restart(*routed)
    assert sent.keys() == ["a#0-opened"], "a channel that is added later hears of what is still open"
    rig.put(b=document("b", severity="warning"))
    assert rig.told("b") == "nobody was notified: no route takes it (oncall)"
    rig.put(b=document("b", sequence=1))
    assert sent.keys() == ["a#0-opened", "b#1-opened"], "and of what its route takes by now"


def test_a_channel_that_is_gone_holds_nothing_up(store: SqliteStore) -> None:
    rig = Rig(store, Fake("gone", Transient("later")), Fake("stays"))
    rig.put(a=document("a"))
    rig.restart(Fake("stays"))
    assert rig.status("a").pending == ()
    assert "gone: suppressed 27 Nov 12:00: the channel is not in the settings any more" in by_channel(rig.alert("a"))


def test_what_an_older_release_told_is_not_told_again_and_what_it_did_not_is(store: SqliteStore) -> None:
    stamp = NOW.isoformat()
    store.put_alert(document("told", first_notified_at=stamp, last_notified_at=stamp, pending=[], held=""))
    store.put_alert(document("not", pending=["0-opened"], held=""))
    store.put_alert(document("ended", pending=["2-resolved"], held="", sequence=2, state="resolved", resolved_at=stamp))
    channel = Fake("c")
    rig = Rig(store, channel)
    rig.restart()
    assert sorted(channel.keys()) == ["ended#2-resolved", "not#0-opened"]
    rig.put(told=document("told", sequence=1, state="resolved", resolved_at=stamp))
    assert channel.keys()[2:] == ["told#1-resolved"]


def test_a_state_of_a_newer_release_ends_no_worker(store: SqliteStore) -> None:
    newer = {"channel": "c", "state": "summarised", "sequence": 0, "told": "critical", "digest": 1}
    store.put_alert(document("a", notifications=[newer], pending=[], first_notified_at=NOW.isoformat()))
    channel = Fake("c")
    rig = Rig(store, channel)
    rig.restart()
    assert channel.keys() == [], "its sequence says that it is settled"
    rig.put(a=document("a", sequence=1, state="resolved", resolved_at=NOW.isoformat()))
    assert channel.keys() == ["a#1-resolved"]


def test_a_wait_that_is_asked_for_is_kept_in_full_whatever_comes_meanwhile(store: SqliteStore) -> None:
    channel = Fake("c", Transient("channel c: status 429", retry_after_s=60.0))
    rig = Rig(store, channel)
    rig.put(a=document("a"))
    channel.fails = None
    for _ in range(5):
        rig.pass_(11.9)
        rig.put(**{f"b{rig.seconds}": document("b")})
    assert channel.got == []
    rig.pass_(0.6)
    assert channel.got


def test_a_clock_of_the_wall_that_is_set_back_delays_nothing(store: SqliteStore) -> None:
    channel = Fake("c", Transient("later"))
    rig = Rig(store, channel)
    rig.put(a=document("a"))
    rig.at -= timedelta(hours=5)
    channel.fails = None
    rig.pass_(60)
    assert channel.keys() == ["a#0-opened"]


def test_a_limit_of_a_vendor_makes_another_channel_repeat_nothing(store: SqliteStore) -> None:
    class Limited(Fake):
        def __init__(self, name: str) -> None:
            super().__init__(name)
            self.limit = RateLimit({60.0: 20}, lambda: rig.seconds)

        async def send(self, notice: Notice) -> None:
            self.limit.acquire(self.name)
            await super().send(notice)

    good, limited = Fake("good"), Limited("limited")
    rig = Rig(store, good, limited, settings=AlertSettings(group_above=1000))
    rig.put(**{f"k{i:02}": document(f"k{i}") for i in range(50)})
    for _ in range(40):
        rig.pass_(10)
    assert len(good.got) == len(limited.got) == 50
    assert set(Counter(good.keys()).values()) == set(Counter(limited.keys()).values()) == {1}


def test_only_who_holds_the_evaluation_sends(store: SqliteStore) -> None:
    channel = Fake("c")
    rig = Rig(store, channel)
    rig.holds = False
    rig.put(a=document("a"))
    assert channel.got == []
    other = Rig(store, channel)
    other.restart()
    rig.pass_(60)
    assert channel.keys() == ["a#0-opened"]


@pytest.mark.parametrize("error", [Fatal("channel c: status 401", "check"), Transient("channel c: TimeoutError")])
def test_who_was_frozen_while_it_sent_does_not_call_refused_what_another_delivered(
    store: SqliteStore, error: Exception
) -> None:
    class Frozen(Fake):
        async def send(self, notice: Notice) -> None:
            ended = document("a", sequence=1, state="resolved", resolved_at=NOW.isoformat())
            await after.notifier.put([ended])
            await after.notifier.deliver()
            raise error

    channel = Fake("c")
    before, after = Rig(store, Frozen("c")), Rig(store, channel)
    before.put(a=document("a"))
    assert channel.keys() == ["a#1-resolved"]
    assert by_channel(before.alert("a")) == ["c: delivered 27 Nov 12:00"]
    assert before.status("a").pending == ()


def test_a_crash_before_it_is_written_down_repeats_the_same_key(store: SqliteStore) -> None:
    class Killed(BaseException):
        pass

    class Dies(Fake):
        async def send(self, notice: Notice) -> None:
            await super().send(notice)
            if len(self.got) == 1:
                raise Killed

    channel = Dies("c")
    rig = Rig(store, channel)
    with pytest.raises(Killed):
        rig.put(**{f"k{i}": document(f"k{i}") for i in range(8)})
    rig.restart()
    assert len(channel.got) == 2
    assert len(set(channel.keys())) == 1


def test_quiet_hours_hold_a_warning_and_an_unsnoozed_alert_goes_out(store: SqliteStore) -> None:
    channel = Fake("c")
    night = [{"start": time(11), "end": time(13)}]
    rig = Rig(store, channel, settings=AlertSettings(quiet_hours=night))  # type: ignore[arg-type]
    rig.put(w=document("w", severity="warning"))
    assert rig.told("w") == "not notified yet: quiet hours until 2026-11-27T13:00:00+00:00"
    until = NOW + timedelta(hours=48)
    store.put_state(
        operator_key("s"),
        OperatorState(snoozed_until=until, snoozed_by="bob", snooze_reason="known"),
    )
    rig.put(s=document("s"))
    rig.pass_(3600)
    assert channel.keys() == ["w#0-opened"]
    store.put_state(operator_key("s"), OperatorState())
    rig.change("s", due_now)
    rig.pass_(30)
    assert channel.keys() == ["w#0-opened", "s#0-opened"]


def test_a_false_alarm_is_closed_at_who_heard_of_it_and_can_be_taken_back(store: SqliteStore) -> None:
    channel, late = Fake("c"), Fake("late", Transient("later"))
    rig = Rig(store, channel, late)
    rig.put(a=document("a", severity="warning"))
    rig.change("a", lambda a: closed_as_false_alarm(a, "ann", "a joke", rig.at))
    store.put_state(operator_key("a"), OperatorState(false_alarm_at=NOW, false_alarm_by="ann"))
    late.fails = None
    rig.pass_(60)
    assert channel.keys() == ["a#0-opened", "a#0-resolved"]
    assert late.got == [], "who never heard of it need not hear that it was nothing"
    assert (word := channel.got[-1].alert.false_alarm) and word.note == "a joke"
    assert rig.alert("a").state == "resolved"
    assert "marked as a false alarm by ann 27 Nov 12:00: a joke" in rig.told("a")
    rig.put(a=document("a", sequence=1))
    assert rig.alert("a").state == "resolved", "its episode goes on behind that"
    assert len(channel.got) == 2
    store.put_state(operator_key("a"), OperatorState())
    rig.change("a", reopened)
    rig.pass_(60)
    assert channel.keys()[2:] == ["a#1-reminder"]
    assert (rig.alert("a").state, rig.alert("a").severity) == ("open", "critical")
    rig.put(a=document("a", sequence=2, state="resolved", resolved_at=NOW.isoformat()))
    assert channel.keys()[3:] == ["a#2-resolved"]


def test_what_is_taken_back_before_anybody_heard_of_it_is_not_told(store: SqliteStore) -> None:
    channel = Fake("c")
    rig = Rig(store, channel)
    rig.put(a=document("a"))
    rig.change("a", lambda a: closed_as_false_alarm(a, "ann", "", rig.at))
    rig.change("a", reopened)
    rig.pass_(60)
    assert channel.keys() == ["a#0-opened"]
    assert rig.status("a").pending == ()
    assert by_channel(rig.alert("a")) == ["c: delivered 27 Nov 12:01"]


def test_a_word_that_is_taken_back_after_an_outage_leaves_no_open_alert_untold(store: SqliteStore) -> None:
    channel = Fake("c", Transient("channel c: down"))
    rig = Rig(store, channel)
    rig.put(a=document("a"), b=document("b"))
    for name in "ab":
        rig.change(name, lambda a: closed_as_false_alarm(a, "ann", "", rig.at))
    channel.fails = None
    rig.pass_(60)
    assert channel.keys() == []
    rig.put(b=document("b", sequence=1, state="resolved", resolved_at=rig.at.isoformat()))
    rig.pass_(60)
    for name in "ab":
        rig.change(name, reopened)
    rig.pass_(60)
    assert channel.keys() == ["a#0-opened"], "the other has ended meanwhile"
    assert rig.told("a") == "notified 27 Nov 12:03"


class _Alertmanager:
    """What Alertmanager holds for open, by the alerts that were posted to it."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.now, self.posts = now, 0
        self.ends: dict[tuple[str, str], datetime] = {}

    async def post(self, body: bytes, *_: object) -> Any:
        self.posts += 1
        for alert in json.loads(body):
            self.ends[alert["labels"]["key"], alert["labels"]["severity"]] = datetime.fromisoformat(alert["endsAt"])
        return Answer(200, "")

    def open(self) -> set[tuple[str, str]]:
        return {key for key, end in self.ends.items() if end > self.now()}


def with_alertmanager(store: SqliteStore, settings: AlertSettings | None = None) -> tuple[Rig, _Alertmanager]:
    holds = _Alertmanager(lambda: rig.at)
    channel = AlertmanagerChannel("am", cast(Any, holds), now=lambda: rig.at)
    rig = Rig(store, channel, settings=settings)
    return rig, holds


@pytest.mark.parametrize(
    ("said", "quiet"),
    [
        ({}, []),
        ({"acknowledged_at": NOW.isoformat(), "acknowledged_by": "ann"}, []),
        ({}, [{"start": time(13), "end": time(12)}]),
        ({"snoozed_until": (NOW + timedelta(days=2)).isoformat()}, []),
    ],
)
def test_an_open_alert_stays_open_at_alertmanager_whatever_people_say(
    store: SqliteStore, said: dict[str, Any], quiet: list[Any]
) -> None:
    rig, alertmanager = with_alertmanager(store, AlertSettings(quiet_hours=quiet))
    rig.put(a=document("a", severity="warning"))
    store.put_state(operator_key("a"), OperatorState.from_json(said))
    for minute in range(24 * 60):
        rig.pass_(60)
        if minute == 600:
            alertmanager.ends.clear()  # it was restarted, and remembers nothing
            rig.pass_(60)
        assert alertmanager.open() == {("a", "warning")}
    assert OPEN_FOR / timedelta(seconds=REFRESH_S) >= 10
    rig.put(a=document("a", severity="warning", sequence=1, state="resolved", resolved_at=rig.at.isoformat()))
    rig.pass_(1)
    assert alertmanager.open() == set()
    posts = alertmanager.posts
    rig.pass_(3600)
    assert alertmanager.posts == posts


def test_a_long_wait_that_alertmanager_asks_for_ends_no_open_alert(store: SqliteStore) -> None:
    rig, holds = with_alertmanager(store)
    rig.put(a=document("a"))
    takes, asked = holds.post, 0

    async def busy_once(body: bytes, *_: object) -> Any:
        nonlocal asked
        if b'"key": "b"' in body and not asked:
            asked += 1
            return Answer(429, "", 86_400.0)
        return await takes(body)

    holds.post = busy_once  # type: ignore[method-assign]
    rig.put(b=document("b"))
    for _ in range(120):
        rig.pass_(60)
        assert ("a", "critical") in holds.open()
    assert ("b", "critical") in holds.open()


def test_a_false_alarm_that_is_taken_back_is_open_at_alertmanager_again(store: SqliteStore) -> None:
    rig, holds = with_alertmanager(store)
    rig.put(a=document("a"))
    rig.change("a", lambda a: closed_as_false_alarm(a, "ann", "", rig.at))
    rig.pass_(60)
    assert holds.open() == set()
    rig.change("a", reopened)
    for _ in range(60):
        rig.pass_(60)
        assert holds.open() == {("a", "critical")}
    rig.put(a=document("a", sequence=1, state="resolved", resolved_at=rig.at.isoformat()))
    rig.pass_(60)
    assert holds.open() == set()


def test_another_severity_takes_the_place_of_the_one_before_at_alertmanager(store: SqliteStore) -> None:
    rig, alertmanager = with_alertmanager(store)
    rig.put(a=document("a", severity="warning"))
    rig.put(a=document("a", sequence=1))
    rig.pass_(60)
    assert alertmanager.open() == {("a", "critical")}
    rig.put(**{f"k{i}": document(f"k{i}") for i in range(9)})
    assert len(alertmanager.open()) == 10, "each by itself: routes there ask for the key"


ACTIONS = ("open", "escalate", "remind", "resolve", "down", "up", "refuse", "restart", "wait", "hour")


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.sampled_from("ab")), max_size=25))
def test_in_the_end_every_channel_knows_how_every_alert_stands(
    tmp_path_factory: pytest.TempPathFactory, steps: Sequence[tuple[str, str]]
) -> None:
    """Whatever happened: what each heard last is how the alert stands, and no key came twice from one process."""
    store = SqliteStore(tmp_path_factory.mktemp("notifier") / "store.sqlite")
    store.setup()
    channels = {name: Fake(name) for name in "ab"}
    rig = Rig(store, *channels.values())
    stand: dict[str, Alert] = {}
    for action, name in steps:
        channel, alert = channels[name], stand.get(name)
        if action == "open" and alert is None:
            stand[name] = document(name, severity="warning")
        elif alert is not None and alert.is_open and action in {"escalate", "remind", "resolve"}:
            change: dict[str, dict[str, Any]] = {
                "escalate": {"severity": "critical"},
                "resolve": {"state": "resolved", "resolved_at": NOW},
            }
            stand[name] = replace(alert, **change.get(action, {}), sequence=alert.sequence + 1)
        elif action in {"down", "up", "refuse"}:
            channel.fails = {"down": Transient("later", 7.0), "refuse": Fatal("no"), "up": None}[action]
        elif action == "restart":
            rig.restart()
        elif action in {"wait", "hour"}:
            rig.pass_({"wait": 10, "hour": 3600}[action])
        if name in stand:
            rig.put(**{name: stand[name]})
    for channel in channels.values():
        channel.fails = None
    rig.pass_(3600)
    rig.pass_(3600)
    for name, alert in stand.items():
        status = rig.status(name)
        assert status.pending == ()
        assert {d.notified_as for d in status.by_channel.values()} == {alert.level}
        for channel in channels.values():
            heard = [n for n in channel.got if n.alert.key == name]
            assert heard[-1].alert.level == alert.level
            assert [n.alert.sequence for n in heard] == sorted({n.alert.sequence for n in heard})
    store.close()
