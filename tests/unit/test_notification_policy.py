"""Told, held or dropped: acknowledged, snoozed, quiet hours, maintenance; and what is still news after a wait."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.alerting.alerts.terms import distinctive, source_profile
from pipeline.alerting.notify.policy import Action, Decision, Maintenance, QuietHours, decide
from pipeline.domain.alert import Alert
from pipeline.domain.delivery import NotificationStatus
from pipeline.domain.operator_state import OperatorState
from pipeline.domain.post import Post
from tests.builders import an_alert, scored

NOW = datetime(2026, 11, 24, 15, 30, tzinfo=UTC)  # a Tuesday, 23:30 in Shanghai
NIGHT = QuietHours(time(22), time(7), "Asia/Shanghai")


def tell(transition: str = "opened", severity: str = "warning", **more: Any) -> Action:
    alert = an_alert(key="subject:Nova", severity=severity)
    operator = OperatorState.from_json(more.pop("operator", {}))
    options = {"quiet": [], "maintenance": [], "now": NOW, **more}
    return decide(transition, alert, operator, **options).action


def test_without_rules_everything_is_sent() -> None:
    assert tell() is Action.SEND


def test_quiet_hours_hold_warnings_over_midnight_and_let_critical_through() -> None:
    assert tell(quiet=[NIGHT]) is Action.HOLD
    assert tell(quiet=[NIGHT], severity="critical") is Action.SEND
    assert tell(quiet=[NIGHT], now=NOW + timedelta(hours=5)) is Action.HOLD
    assert tell(quiet=[NIGHT], now=NOW + timedelta(hours=8)) is Action.SEND
    weekdays = QuietHours(time(22), time(7), "Asia/Shanghai", ("mon",))
    assert tell(quiet=[weekdays]) is Action.SEND
    assert NIGHT.until(NOW) == datetime(2026, 11, 24, 23, tzinfo=UTC)


def test_a_snooze_holds_until_it_ends_and_an_acknowledgement_stops_reminders_only() -> None:
    snoozed = {"snoozed_until": (NOW + timedelta(hours=1)).isoformat()}
    assert tell(operator=snoozed, severity="critical") is Action.HOLD
    assert tell(operator=snoozed, now=NOW + timedelta(hours=1)) is Action.SEND
    known = {"acknowledged_at": NOW.isoformat(), "acknowledged_by": "ann"}
    assert tell("reminder", operator=known) is Action.DROP
    assert tell("escalated", "critical", operator=known) is Action.SEND
    assert tell("resolved", operator=known) is Action.SEND


def post(author: str, source: str = "weibo") -> Post:
    return scored(0, author=author, source=source).post


def test_what_too_few_wrote_waits_for_more_authors() -> None:
    nobody_counted = an_alert(key="subject:Nova", severity="critical")
    alert = replace(nobody_counted, source_profile=source_profile([post("troll")] * 40))

    def of(transition: str, alert: Alert, min_authors: int = 3) -> Decision:
        return decide(transition, alert, OperatorState(), [], [], NOW, min_authors)

    assert of("opened", alert) == Decision(Action.HOLD, "1 of 3 authors (alerts.min_authors)")
    assert of("resolved", alert).action is Action.DROP, "nobody heard that it began"
    assert of("opened", alert, 1).action is Action.SEND
    assert of("resolved", replace(alert, notifications=NotificationStatus(first_at=NOW))).action is Action.SEND
    assert of("opened", nobody_counted).action is Action.SEND, "of an older release: nobody counted"
    anonymous = [post("")] * 3
    assert of("opened", replace(alert, source_profile=source_profile(anonymous))).action is Action.SEND, (
        "a feed without authors must not hide"
    )


def test_maintenance_drops_the_keys_it_names() -> None:
    window = Maintenance(NOW - timedelta(hours=1), NOW + timedelta(hours=1), ("subject:No*",), "launch")
    assert tell(maintenance=[window], severity="critical") is Action.DROP
    assert tell(maintenance=[Maintenance(window.start, window.end, ("topic:*",))]) is Action.SEND
    assert tell(maintenance=[window], now=window.end) is Action.SEND


def test_a_false_alarm_is_not_told_but_its_end_is() -> None:
    said = {"false_alarm_at": NOW.isoformat(), "false_alarm_by": "ann"}
    assert tell("escalated", "critical", operator=said) is Action.DROP
    assert tell("reminder", operator=said) is Action.DROP
    assert tell("resolved", operator=said) is Action.SEND


def test_terms_set_the_crisis_apart_in_both_languages() -> None:
    usual = [f"the phone is fine and the camera is {w} 手机不错，很好用" for w in ("good", "sharp", "nice")] * 10
    crisis = ["the battery melted in my hand 手机电池爆炸了", "battery melted again, refund please 电池爆炸 退货"] * 5
    terms = distinctive(crisis, usual)
    assert {"battery", "melted"} <= set(terms)
    assert any("电池" in t or "爆炸" in t for t in terms)
    assert not {"the", "phone"} & set(terms)
    assert distinctive([], usual) == []


@given(*[st.lists(st.text("too坏bad ", max_size=9), max_size=12)] * 2)
def test_there_are_terms_or_none_whatever_the_posts_say(inside: list[str], outside: list[str]) -> None:
    terms = distinctive(inside, outside)
    assert all(any(t in text.casefold() for text in inside) for t in terms)


def test_a_crowd_that_says_one_word_breaks_nothing() -> None:
    assert distinctive(["垃圾"] * 40, []) == ["垃圾"]


@pytest.mark.parametrize(("authors", "broad"), [(["a"] * 10, False), ([str(i) for i in range(10)], True)])
def test_one_author_is_not_broad(authors: list[str], broad: bool) -> None:
    posts = [post(author, f"s{i % 4}") for i, author in enumerate(authors)]
    found = source_profile(posts)
    assert found.broad is broad
    assert found.sources == 4


@pytest.mark.parametrize(
    ("quiet", "now", "ends"),
    [  # the clocks go from 2 to 3, and from 2 back to 1
        (QuietHours(time(22), time(2, 30), "America/New_York"), "2026-03-08T06:00Z", "2026-03-08T06:30Z"),
        (QuietHours(time(22), time(2, 30), "America/New_York"), "2026-03-08T06:55Z", "2026-03-08T06:30Z"),
        (QuietHours(time(22), time(1, 30), "America/New_York"), "2026-11-01T05:00Z", "2026-11-01T05:30Z"),
        (QuietHours(time(22), time(1, 30), "America/New_York"), "2026-11-01T06:10Z", "2026-11-01T06:30Z"),
        (QuietHours(time(22), time(7), "Europe/Berlin"), "2026-10-24T21:00Z", "2026-10-25T06:00Z"),
    ],
)
def test_quiet_hours_end_no_later_than_the_clock_on_the_wall_says(quiet: QuietHours, now: str, ends: str) -> None:
    until = quiet.until(datetime.fromisoformat(now))
    assert until is not None
    assert until.astimezone(UTC) == datetime.fromisoformat(ends)
