"""One channel's queue and its screening, with an outbox that stands by itself; and the policy at its edges."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from typing import Any, cast

import pytest

from pipeline.alerting.evaluation.overrides import KeyOverride
from pipeline.alerting.notify.channel import Channel, Notice
from pipeline.alerting.notify.context import QueueContext
from pipeline.alerting.notify.deliveries import delivery_of, with_deliveries
from pipeline.alerting.notify.outbox import Outbox
from pipeline.alerting.notify.policy import Action, Decision, Maintenance, NotificationPolicy, QuietHours, decide
from pipeline.alerting.notify.queue import LIMIT, MAX_REFUSALS, POLL_S, REFUSED_S, ChannelQueue
from pipeline.alerting.notify.screening import LOOK_AGAIN_S, Screening
from pipeline.domain.alert import Alert
from pipeline.domain.alert_evidence import SourceProfile
from pipeline.domain.delivery import Delivery, DeliveryState, FalseAlarm, NotificationStatus
from pipeline.domain.errors import Fatal, Transient
from pipeline.domain.metrics import Metrics
from pipeline.domain.operator_state import OperatorState
from tests.builders import START, an_alert

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


@dataclass
class Kept:
    """Stands in for `Outbox`: the alerts of one channel, all of them due until something changes them."""

    alerts: dict[str, Alert] = field(default_factory=dict)
    said: OperatorState = field(default_factory=OperatorState)
    asked: list[tuple[str, int]] = field(default_factory=list)

    async def due(self, channel: str, limit: int) -> list[Alert]:
        self.asked.append((channel, limit))
        return [a for a in self.alerts.values() if delivery_of(a, channel).due_at is not None][:limit]

    async def change(self, alert_id: str, change: Callable[[Alert], Alert | None]) -> Alert | None:
        changed = change(self.alerts[alert_id])
        self.alerts[alert_id] = changed or self.alerts[alert_id]
        return changed

    async def open(self) -> list[Alert]:
        return [alert for alert in self.alerts.values() if alert.is_open]

    async def operator(self, _: str) -> OperatorState:
        return self.said


class Plain:
    """Implements `Channel`."""

    def __init__(self, fails: Exception | None = None) -> None:
        self.name, self.fails, self.got = "c", fails, list[Notice]()

    async def send(self, notice: Notice) -> None:
        self.got.append(notice)
        if self.fails is not None:
            raise self.fails

    async def check(self) -> None:
        """Nothing to reach."""


class Stateful(Plain):
    """Implements `StatefulChannel`."""

    refresh_s = 10.0

    def __init__(self, fails: Exception | None = None) -> None:
        super().__init__(fails)
        self.refreshed: list[list[str]] = []

    async def refresh(self, alerts: Sequence[Alert]) -> None:
        self.refreshed.append([alert.id for alert in alerts])


def due(name: str = "a", **delivery: Any) -> Alert:
    found = Delivery("c", **{"due_at": NOW, **delivery})
    return with_deliveries(an_alert(name, key=name), {"c": found})


class Rig:
    """A queue over `Kept`, with clocks that stand."""

    def __init__(self, channel: Plain, *alerts: Alert, **options: Any) -> None:
        self.kept, self.channel, self.metrics, self.seconds = Kept(), channel, Metrics(), 0.0
        self.kept.alerts = {alert.id: alert for alert in alerts}
        self.reread: list[str] = []
        self.takes = options.pop("takes", lambda _: True)
        usual = {"policy": NotificationPolicy(), "holds": lambda: True, "group_above": 10**6}
        self.context = QueueContext(
            outbox=cast(Outbox, self.kept), reread=self._reread, metrics=self.metrics, now=lambda: NOW,
            monotonic=lambda: self.seconds, **{**usual, **options},
        )  # fmt: skip
        self.queue = ChannelQueue(cast(Channel, channel), self.takes, self.context)

    async def _reread(self, alert: Alert) -> Alert:
        self.reread.append(alert.id)
        return replace(alert, terms=("new",), source_profile=SourceProfile(distinct_authors=9))

    def deliver(self) -> float:
        return asyncio.run(self.queue.deliver())

    def screen(self, alert: Alert) -> Alert | None:
        self.kept.alerts[alert.id] = alert
        return asyncio.run(Screening(cast(Channel, self.channel), self.takes, self.context).screen(alert))

    def delivery(self, name: str = "a") -> Delivery:
        return delivery_of(self.kept.alerts[name], "c")

    def sample(self, metric: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"opinionwatch_{metric}", {"channel": "c", **labels})


def test_a_round_sends_what_is_due_and_looks_again_in_half_a_minute() -> None:
    rig = Rig(Plain(), due("a"), due("b"))
    assert {o: rig.sample("notifications_total", outcome=o) for o in ("sent", "retried", "refused", "suppressed")} == {
        "sent": 0, "retried": 0, "refused": 0, "suppressed": 0,
    }  # fmt: skip
    assert rig.queue.idle
    rig.queue.wake()
    assert not rig.queue.idle
    assert rig.deliver() == POLL_S == 30.0
    assert rig.queue.idle
    assert [notice.alert.id for notice in rig.channel.got] == ["a", "b"]
    assert rig.kept.asked == [("c", LIMIT)]
    assert rig.sample("notifications_pending") == 2, "as the round found it"
    assert rig.delivery().state is DeliveryState.DELIVERED
    assert rig.deliver() == POLL_S
    assert rig.sample("notifications_pending") == 0


def test_a_full_round_goes_on_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LIMIT == 500
    monkeypatch.setattr("pipeline.alerting.notify.queue.LIMIT", 2)
    rig = Rig(Plain(), due("a"), due("b"), due("c"))
    assert rig.deliver() == 0.0
    assert not rig.queue.idle
    assert rig.deliver() == POLL_S
    assert rig.queue.idle


def test_who_does_not_hold_the_evaluation_sends_nothing_and_shows_nothing() -> None:
    holds = [True]
    rig = Rig(Plain(Transient("channel c: busy")), due("a"), holds=lambda: holds[0])
    rig.deliver()
    holds[0] = False
    assert rig.sample("notifications_pending") == 1
    assert rig.deliver() == POLL_S
    assert rig.sample("notifications_pending") == 0
    assert len(rig.channel.got) == 1


def test_who_loses_the_evaluation_stops_between_two_messages() -> None:
    channel = Plain()
    Rig(channel, due("a"), due("b"), holds=lambda: not channel.got).deliver()
    assert [notice.alert.id for notice in channel.got] == ["a"]


def test_a_receiver_that_fails_rests_and_is_asked_nothing_meanwhile() -> None:
    rig = Rig(Plain(Transient("channel c: busy", 7.0)), due("a"), due("b"))
    rig.queue.wake()
    assert rig.deliver() == 7.0
    assert rig.queue.idle, "nothing can be tried now"
    assert len(rig.channel.got) == 1, "the rest of the round waits too"
    assert (rig.delivery().state, rig.delivery().attempts, rig.delivery("b").attempts) == (DeliveryState.RETRYING, 1, 0)
    rig.seconds = 6.5
    assert rig.deliver() == 0.5
    assert len(rig.channel.got) == 1
    rig.seconds, rig.channel.fails = 7.0, None
    assert rig.deliver() == POLL_S
    assert [notice.alert.id for notice in rig.channel.got] == ["a", "b", "a"], "what was tried least goes first"


def test_a_refusal_is_tried_again_after_an_hour() -> None:
    rig = Rig(Plain(Fatal("channel c: status 404", "check")), *(due(n) for n in "abcde"))
    assert rig.deliver() == POLL_S, "a refusal is no reason to rest"
    assert (MAX_REFUSALS, REFUSED_S, len(rig.channel.got)) == (3, 3600.0, 3)
    assert {rig.delivery(name).due_at for name in "abcde"} == {NOW + timedelta(hours=1)}
    assert [rig.delivery(name).attempts for name in "abcde"] == [1, 1, 1, 0, 0]
    assert rig.delivery("e").detail == "not tried after 3 refusals: status 404; check"


def test_refusals_count_in_a_row() -> None:
    class Picky(Plain):
        async def send(self, notice: Notice) -> None:
            self.fails = None if notice.alert.id == "c" else Fatal("channel c: no")
            await super().send(notice)

    rig = Rig(Picky(), *(due(n) for n in "abcdefgh"))
    rig.deliver()
    assert [notice.alert.id for notice in rig.channel.got] == [*"abcdef"]


def test_a_channel_that_keeps_state_is_refreshed_at_its_pace_and_waits_no_longer_than_that() -> None:
    channel = Stateful()
    rig = Rig(channel, due("a", due_at=None, notified_as="warning", sequence=0))
    assert rig.deliver() == 10.0
    rig.seconds = 4.0
    assert rig.deliver() == 6.0
    assert channel.refreshed == [["a"]]
    rig.seconds = 10.0
    rig.deliver()
    assert channel.refreshed == [["a"], ["a"]]
    slow = Stateful()
    slow.refresh_s = 100.0
    assert Rig(slow).deliver() == POLL_S


def test_a_wait_that_would_end_what_is_open_is_cut_to_ten_refreshes() -> None:
    assert Rig(Stateful(Transient("channel c: busy", 86_400.0)), due("a")).deliver() == 100.0
    assert Rig(Stateful(Transient("channel c: busy", 99.0)), due("a")).deliver() == 99.0
    assert Rig(Plain(Transient("channel c: busy", 86_400.0)), due("a")).deliver() == 86_400.0


def test_many_at_once_are_grouped_but_not_where_the_receiver_keeps_state() -> None:
    alerts = [due(name) for name in "abc"]
    plain, stateful = Rig(Plain(), *alerts, group_above=2), Rig(Stateful(), *alerts, group_above=2)
    for rig, messages in ((plain, 1), (stateful, 3)):
        rig.deliver()
        assert len(rig.channel.got) == messages
        assert {rig.delivery(name).state for name in "abc"} == {DeliveryState.DELIVERED}


def test_a_queue_that_runs_is_woken_and_rests_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    rig = Rig(Plain(Transient("channel c: busy", 7.0)), due("a"))

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        rig.seconds += seconds
        rig.channel.fails = None

    async def scenario() -> None:
        running = asyncio.create_task(rig.queue.run())
        for _ in range(20):
            await one_turn()
        assert [notice.alert.id for notice in rig.channel.got] == ["a", "a"]
        rig.kept.alerts["b"] = due("b")
        for _ in range(20):
            await one_turn()
        assert len(rig.channel.got) == 2, "nobody woke it"
        rig.queue.wake()
        for _ in range(20):
            await one_turn()
        assert len(rig.channel.got) == 3
        running.cancel()

    monkeypatch.setattr("pipeline.alerting.notify.queue.asyncio.sleep", sleep)
    asyncio.run(scenario())
    assert waits == [7.0]


async def one_turn() -> None:
    """`asyncio.sleep(0)`, which the test above replaces."""
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_result, None)
    await future


def test_what_was_taken_back_is_settled_in_silence() -> None:
    rig = Rig(Plain())
    taken_back = due("a", sequence=0, notified_as="warning")
    assert rig.screen(taken_back) is None
    assert (rig.delivery().state, rig.delivery().due_at) == (DeliveryState.DELIVERED, None)
    assert rig.sample("notifications_total", outcome="suppressed") == 0


def test_a_route_that_takes_an_alert_no_more_says_so() -> None:
    rig = Rig(Plain(), takes=lambda _: False)
    assert rig.screen(due("a")) is None
    assert rig.delivery().state is DeliveryState.NO_ROUTE


def test_an_alert_below_the_minimum_of_authors_is_counted_again_first() -> None:
    few = SourceProfile(distinct_authors=1)
    rig = Rig(Plain(), policy=NotificationPolicy(min_authors=5))
    sent = rig.screen(replace(due("a"), source_profile=few))
    assert sent is not None
    assert (sent.terms, rig.kept.alerts["a"].terms, rig.reread) == (("new",), ("new",), ["a"])
    rig = Rig(Plain(), policy=NotificationPolicy(min_authors=10))
    assert rig.screen(replace(due("a"), source_profile=few)) is None
    delivery = rig.delivery()
    assert (delivery.state, delivery.detail) == (DeliveryState.HELD, "9 of 10 authors (alerts.min_authors)")
    assert delivery.due_at == NOW + timedelta(seconds=LOOK_AGAIN_S) == NOW + timedelta(seconds=30)
    rig = Rig(Plain(), policy=NotificationPolicy(min_authors=5))
    rig.screen(replace(due("a"), source_profile=SourceProfile(distinct_authors=5)))
    assert rig.reread == [], "enough have written"


def test_what_the_policy_holds_or_drops_is_noted_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    rig = Rig(Plain())
    rig.kept.said = OperatorState(snoozed_until=NOW + timedelta(hours=1))
    assert rig.screen(due("a")) is None
    assert (rig.delivery().state, rig.delivery().due_at) == (DeliveryState.HELD, NOW + timedelta(hours=1))
    assert rig.sample("notifications_total", outcome="suppressed") == 0
    rig.kept.said = OperatorState(false_alarm_at=NOW, false_alarm_by="ann")
    assert rig.screen(due("a")) is None
    assert (rig.delivery().state, rig.delivery().detail) == (
        DeliveryState.SUPPRESSED, "marked as a false alarm by ann",
    )  # fmt: skip
    assert rig.sample("notifications_total", outcome="suppressed") == 1
    assert caplog.messages == ["channel c does not send a#0-opened: marked as a false alarm by ann"]


def test_the_end_of_what_nobody_heard_of_is_not_sent_unless_its_beginning_is_still_due() -> None:
    ended: dict[str, Any] = {"state": "resolved", "sequence": 1}
    rig = Rig(Plain())
    unheard = replace(due("a", sequence=0), **ended)
    assert rig.screen(unheard) is None
    assert rig.delivery().detail == "nobody was notified that it began"
    waiting = replace(due("a"), **ended)
    assert rig.screen(waiting) is not None, "an outage held back both"
    closed = replace(waiting, false_alarm=FalseAlarm(NOW, "ann"))
    assert rig.screen(closed) is None
    heard = replace(due("a", sequence=0, notified_as="warning"), **ended)
    assert rig.screen(heard) is not None


def test_a_receiver_that_keeps_state_hears_of_each_level_and_of_no_reminder() -> None:
    rig = Rig(Stateful(), policy=NotificationPolicy(maintenance=(Maintenance(NOW, NOW + timedelta(hours=1)),)))
    assert rig.screen(due("a")) is None, "it does not know of it yet, so that the policy decides"
    known = due("a", sequence=0, notified_as="warning")
    assert rig.screen(replace(known, severity="critical", sequence=1)) is not None
    assert rig.screen(replace(known, state="resolved", sequence=1)) is not None
    assert rig.screen(replace(known, sequence=1)) is None, "a refresh takes the place of a reminder"
    assert rig.sample("notifications_total", outcome="suppressed") == 1
    again = replace(due("a", sequence=0, notified_as="resolved"), sequence=1)
    assert rig.screen(again) is not None, "it ended there"


def judged(transition: str = "opened", alert: Alert | None = None, **fields: Any) -> Decision:
    usual: dict[str, Any] = {"operator": OperatorState(), "quiet": [], "maintenance": [], "now": NOW}
    return decide(transition, alert or an_alert(key="subject:Nova"), **{**usual, **fields})


HOUR = timedelta(hours=1)


def test_each_decision_says_why_in_words_for_people() -> None:
    window = Maintenance(NOW, NOW + HOUR, ("subject:*",), "launch")
    assert judged(maintenance=[window]) == Decision(
        Action.DROP, "maintenance until 2026-11-27T13:00:00+00:00: launch"
    )  # fmt: skip
    assert judged(maintenance=[replace(window, reason="")]).reason == "maintenance until 2026-11-27T13:00:00+00:00"
    assert judged(maintenance=[window], now=NOW - timedelta(seconds=1)).action is Action.SEND
    assert judged(maintenance=[window], now=NOW + HOUR).action is Action.SEND
    until = NOW + HOUR
    assert judged(operator=OperatorState(snoozed_until=until)) == Decision(
        Action.HOLD, "snoozed until 2026-11-27T13:00:00+00:00", until
    )  # fmt: skip
    nobody = OperatorState(false_alarm_at=NOW, acknowledged_at=NOW)
    assert judged(operator=nobody) == Decision(Action.DROP, "marked as a false alarm by ?")
    assert judged("reminder", operator=replace(nobody, false_alarm_at=None)) == Decision(
        Action.DROP, "acknowledged by ?"
    )  # fmt: skip
    known = OperatorState(acknowledged_at=NOW, acknowledged_by="bob")
    assert judged("reminder", operator=known).reason == "acknowledged by bob"
    assert judged("escalated", operator=known) == Decision(Action.SEND)


def test_the_longest_of_quiet_hours_that_overlap_counts() -> None:
    short, long = (QuietHours(time(11), time(hour), "UTC") for hour in (13, 14))
    found = judged(quiet=[short, long])
    assert found == Decision(Action.HOLD, "quiet hours until 2026-11-27T14:00:00+00:00", NOW + 2 * HOUR)
    assert judged(alert=replace(an_alert(), severity="critical"), quiet=[long]).action is Action.SEND


def test_quiet_hours_include_their_start_and_not_their_end_on_the_days_that_they_begin() -> None:
    friday = QuietHours(time(22), time(7), "UTC", ("fri",))
    begins, ends = datetime(2026, 11, 27, 22, tzinfo=UTC), datetime(2026, 11, 28, 7, tzinfo=UTC)
    assert friday.until(begins - timedelta(seconds=1)) is None
    assert friday.until(begins) == friday.until(ends - timedelta(seconds=1)) == ends
    assert friday.until(ends) is None
    assert friday.until(begins + timedelta(days=1)) is None, "that night begins on a Saturday"
    noon = QuietHours(time(11), time(13), "UTC")
    assert [noon.until(NOW + hours * HOUR) for hours in (-1, 0, 1)] == [NOW + HOUR, NOW + HOUR, None]
    whole_day = QuietHours(time(12), time(12), "UTC")
    assert whole_day.until(NOW) == NOW + timedelta(days=1), "from noon to noon"


def test_an_override_raises_the_minimum_of_authors_of_its_keys() -> None:
    policy = NotificationPolicy(overrides=(KeyOverride(("subject:*",), min_authors=5),), min_authors=2)

    def below(key: str, authors: int) -> bool:
        alert = replace(an_alert(key=key), source_profile=SourceProfile(distinct_authors=authors))
        below = policy.is_below_min_authors(alert)
        assert (policy.decide("opened", alert, OperatorState(), NOW).action is Action.HOLD) is below
        return below

    assert [below("topic:x", n) for n in (1, 2)] == [True, False]
    assert [below("subject:x", n) for n in (4, 5)] == [True, False]
    known = replace(an_alert(), source_profile=SourceProfile(distinct_authors=0))
    status = NotificationStatus(first_at=START)
    assert not policy.is_below_min_authors(replace(known, notifications=status))
