"""What a channel has still to send, by what its receiver knows; and how an alert changes at a channel. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pipeline.alerting.notify.changes import delivered, due_now, failed, held, queued, suppressed
from pipeline.alerting.notify.deliveries import delivery_of, has_update, idempotency_key, transition_for, unnotified
from pipeline.alerting.notify.false_alarms import closed_as_false_alarm, reopened
from pipeline.alerting.notify.policy import below_min_authors
from pipeline.alerting.notify.status import notification_status
from pipeline.domain.alert import Alert
from pipeline.domain.alert_evidence import SourceProfile
from pipeline.domain.delivery import AT_ONCE, Delivery, DeliveryState, NotificationStatus
from pipeline.domain.operator_state import OperatorState
from tests.builders import an_alert

NOW = datetime(2026, 11, 27, 12, 0, 0, 500, tzinfo=UTC)
WHOLE = NOW.replace(microsecond=0)


@pytest.mark.parametrize(
    ("state", "severity", "sequence", "knows", "settled", "update"),
    [
        ("open", "warning", 0, "", -1, "opened"),
        ("open", "critical", 1, "warning", 0, "escalated"),
        ("open", "warning", 2, "warning", 1, "reminder"),
        ("open", "warning", 1, "critical", 1, "reminder"),
        ("open", "critical", 2, "resolved", 2, "reminder"),
        ("resolved", "warning", 3, "warning", 2, "resolved"),
        ("resolved", "warning", 3, "", 2, "resolved"),
        ("resolved", "warning", 3, "resolved", 2, None),
        ("open", "warning", 1, "warning", 1, None),
        ("open", "warning", 1, "", 1, None),
    ],
)
def test_an_update_is_what_the_receiver_does_not_know(
    state: str, severity: str, sequence: int, knows: str, settled: int, update: str | None
) -> None:
    alert = an_alert(state=state, severity=severity, sequence=sequence)
    delivery = Delivery("c", sequence=settled, notified_as=knows)
    assert has_update(alert, delivery) is (update is not None)
    if update is not None:
        assert transition_for(alert, delivery) == update
        assert idempotency_key(alert, update) == f"a#{sequence}-{update}"


def status(alert: Alert) -> tuple[DeliveryState, tuple[str, ...] | None, str | None, str | None]:
    found = alert.notifications
    return delivery_of(alert, "c").state, found.pending, found.held, found.unnotified


def test_an_alert_is_queued_where_a_route_takes_it_and_says_so_where_none_does() -> None:
    alert = queued(an_alert(), {"c": lambda _: True, "d": lambda _: False}, NOW)
    assert status(alert) == (DeliveryState.PENDING, ("c",), "", "")
    assert delivery_of(alert, "c") == Delivery("c", at=WHOLE, due_at=AT_ONCE)
    other = delivery_of(alert, "d")
    assert (other.state, other.due_at, "route" in other.detail) == (DeliveryState.NO_ROUTE, None, True)
    alone = queued(an_alert(), {"d": lambda _: False}, NOW)
    assert (alone.notifications.unnotified or "").startswith("d: no route, the route of the channel")


def test_a_channel_that_was_removed_has_nothing_to_do_and_keeps_what_it_did() -> None:
    alert = queued(an_alert(), {"c": lambda _: True}, NOW)
    removed = queued(alert, {}, NOW, removed={"c"})
    assert status(removed)[:2] == (DeliveryState.SUPPRESSED, ())
    done = delivered(alert, alert, "c", NOW)
    assert queued(done, {}, NOW, removed={"c"}) == done


def test_a_delivery_is_noted_once_and_an_alert_that_went_on_meanwhile_is_due_again() -> None:
    alert = queued(an_alert(), {"c": lambda _: True}, NOW)
    later = NOW + timedelta(minutes=1)
    first = delivered(alert, alert, "c", NOW)
    assert delivery_of(first, "c") == Delivery("c", DeliveryState.DELIVERED, WHOLE, 1, "", 0, "warning")
    assert first.notifications.first_at == first.notifications.last_at == WHOLE
    second = delivered(replace(first, sequence=1), replace(first, sequence=1), "c", later)
    assert (second.notifications.first_at, second.notifications.last_at) == (WHOLE, later.replace(microsecond=0))
    assert delivered(second, alert, "c", later) is second, "another process has delivered more"
    went_on = delivered(replace(alert, sequence=2, severity="critical"), alert, "c", NOW)
    assert delivery_of(went_on, "c") == Delivery("c", at=WHOLE, sequence=0, notified_as="warning", due_at=AT_ONCE)


def test_the_log_notifies_nobody() -> None:
    alert = delivered(an_alert(), an_alert(), "log", NOW)
    assert (alert.notifications.first_at, delivery_of(alert, "log").state) == (None, DeliveryState.DELIVERED)
    assert alert.notifications.unnotified == "no channel is configured (alerts.channels)"


def test_a_failure_is_tried_again_when_it_is_due_and_what_was_delivered_stays() -> None:
    alert = queued(an_alert(), {"c": lambda _: True}, NOW)
    refused = failed(alert, "c", DeliveryState.REFUSED, "status 404", NOW + timedelta(hours=1), NOW)
    due = (WHOLE + timedelta(hours=1), 1)
    assert (delivery_of(refused, "c").due_at, delivery_of(refused, "c").attempts) == due
    assert refused.notifications.unnotified == "c: refused, status 404"
    untried = failed(refused, "c", DeliveryState.REFUSED, "not tried", None, NOW, tried=False)
    assert (delivery_of(untried, "c").due_at, delivery_of(untried, "c").attempts) == (AT_ONCE, 1)
    done = delivered(alert, alert, "c", NOW)
    assert failed(done, "c", DeliveryState.REFUSED, "late", None, NOW) is done


def test_an_alert_is_held_since_the_reason_began() -> None:
    until, later = NOW + timedelta(hours=1), NOW + timedelta(minutes=1)
    alert = held(queued(an_alert(), {"c": lambda _: True}, NOW), "c", "quiet hours", until, NOW)
    again = held(alert, "c", "quiet hours", until, later)
    assert status(again) == (DeliveryState.HELD, ("c",), "quiet hours", "")
    assert delivery_of(again, "c").at == WHOLE
    assert delivery_of(held(alert, "c", "snoozed", until, later), "c").at == later.replace(microsecond=0)
    assert delivery_of(due_now(again), "c").due_at == AT_ONCE
    assert due_now(an_alert()) == an_alert(), "nothing waits"


def test_what_is_suppressed_is_settled_and_a_later_transition_is_due() -> None:
    alert = queued(an_alert(sequence=1), {"c": lambda _: True}, NOW)
    dropped = suppressed(alert, alert, "c", "maintenance", NOW)
    assert status(dropped) == (DeliveryState.SUPPRESSED, (), "maintenance", "")
    assert delivery_of(dropped, "c").sequence == 1
    assert status(suppressed(replace(alert, sequence=2), alert, "c", "maintenance", NOW))[1] == ("c",)
    told = delivered(alert, alert, "c", NOW)
    assert status(suppressed(told, told, "c", "", NOW))[0] is DeliveryState.DELIVERED, "it was taken back"
    assert status(suppressed(told, told, "c", "acknowledged", NOW))[2] == "", "people know of it already"


def test_why_nobody_was_notified_names_every_channel_in_a_bounded_line() -> None:
    refused = [Delivery("a", DeliveryState.REFUSED, detail="no"), Delivery("b", DeliveryState.NO_ROUTE)]
    assert unnotified(an_alert(), refused) == "a: refused, no; b: no route"
    assert unnotified(an_alert(), [*refused, Delivery("c", DeliveryState.RETRYING)]) == ""
    assert unnotified(an_alert(first_notified_at=NOW.isoformat()), refused) == ""
    assert len(unnotified(an_alert(), [Delivery("a", DeliveryState.REFUSED, detail="x" * 2000)])) == 1000


def test_a_false_alarm_keeps_the_end_of_the_episode_for_the_day_that_it_is_taken_back() -> None:
    alert = delivered(an_alert(), an_alert(), "c", NOW)
    closed = closed_as_false_alarm(alert, "ann", "a joke", NOW)
    assert (closed.state, closed.resolved_at, status(closed)[1]) == ("resolved", WHOLE, ("c",))
    again = closed_as_false_alarm(closed, "ben", "", NOW)
    assert again.false_alarm is not None
    assert (again.false_alarm.by, again.false_alarm.ended_at) == ("ben", None)
    assert (reopened(closed).state, reopened(closed).resolved_at) == ("open", None)
    ended = replace(alert, state="resolved", resolved_at=WHOLE)
    assert reopened(closed_as_false_alarm(ended, "ann", "", NOW)).resolved_at == WHOLE
    assert reopened(alert) == alert, "nobody said that it is false"


def test_below_the_minimum_of_authors_counts_only_before_anybody_was_notified() -> None:
    alert = replace(an_alert(), source_profile=SourceProfile(distinct_authors=1))
    assert below_min_authors(alert, 2)
    assert not below_min_authors(alert, 1)
    assert not below_min_authors(replace(alert, notifications=NotificationStatus(first_at=NOW)), 2)
    assert not below_min_authors(replace(alert, source_profile=SourceProfile()), 2), "nobody counted"


def test_the_status_of_an_alert_of_release_0_10_0_says_what_that_release_knew() -> None:
    assert (
        notification_status(an_alert(), OperatorState(), NOW) == "nobody was notified: release 0.10.0 did not say why"
    )
    waits = an_alert(pending=["0-opened"], held="quiet hours")
    assert notification_status(waits, OperatorState(), NOW) == "not notified yet: quiet hours"
    nobody = queued(an_alert(), {}, NOW)
    expected = "nobody was notified: no channel is configured (alerts.channels)"
    assert notification_status(nobody, OperatorState(), NOW) == expected
