"""The alert as JSON: what any release wrote is read, and what is written can be read by all of them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.alert import Alert
from pipeline.domain.alert_evidence import EvidencePost, LastHour, PeakCounts, Series, SourceProfile
from pipeline.domain.delivery import AT_ONCE, Delivery, DeliveryState, FalseAlarm, NotificationStatus
from pipeline.domain.operator_state import OperatorState

RELEASES: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "alerts_of_releases.json").read_text("utf-8"))
AT = datetime(2026, 3, 2, tzinfo=UTC)
#: What release 0.10.0 did not write, with the value that means the same.
NEWER = {"last_hour": {}, "note": ""}

numbers = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, 10**6)
texts = st.text(max_size=20)
moments = st.integers(0, 4 * 10**9).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
posts = st.builds(EvidencePost, published_at=st.none() | moments, negative_score=numbers, unknown=st.just({}))
maybe = {
    "source_profile": st.none() | st.builds(SourceProfile, distinct_authors=st.none() | counts, unknown=st.just({})),
    "series": st.none() | st.builds(Series, counts, counts, st.lists(counts).map(tuple), st.lists(counts).map(tuple)),
    "last_hour": st.none() | st.builds(LastHour, moments, counts, counts, numbers),
    "false_alarm": st.none() | st.builds(FalseAlarm, moments, texts, unknown=st.just({})),
}
alerts = st.builds(
    Alert,
    started_at=moments,
    updated_at=moments,
    resolved_at=st.none() | moments,
    peak=st.builds(PeakCounts, expected=numbers, lift=numbers, score=numbers, share=st.none() | st.floats(0, 1),
                   expected_share=st.none() | st.floats(0, 1)),
    threshold=st.just(Alert(id="", key="", started_at=AT, updated_at=AT).threshold),
    related=st.lists(texts).map(tuple),
    evidence=st.lists(posts, max_size=2).map(tuple),
    terms=st.lists(texts).map(tuple),
    notifications=st.builds(
        NotificationStatus,
        first_at=st.none() | moments,
        deliveries=st.none()
        | st.lists(st.builds(Delivery, at=st.none() | moments, due_at=st.none() | moments), max_size=3).map(tuple),
        pending=st.none() | st.lists(texts).map(tuple),
    ),
    unknown=st.dictionaries(texts.map(lambda name: f"newer {name}"), st.integers() | st.lists(texts)),
    **maybe,
)  # fmt: skip


def through_json(alert: Alert) -> Alert:
    return Alert.from_json(alert.id, json.loads(json.dumps(alert.to_json())))


@given(alerts)
def test_what_is_written_is_read_back(alert: Alert) -> None:
    assert through_json(alert) == alert
    assert Alert.from_json(alert.id, alert.to_json_with_id()) == alert, "the id is not a field of its own"


@pytest.mark.parametrize("name", [name for name in RELEASES if name.startswith("0.11.0")])
def test_the_document_of_0_11_0_is_written_as_that_release_wrote_it(name: str) -> None:
    written = json.dumps(RELEASES[name], ensure_ascii=False)
    assert json.dumps(Alert.from_json("a", RELEASES[name]).to_json(), ensure_ascii=False) == written


@pytest.mark.parametrize("name", [name for name in RELEASES if name.startswith("0.10.0")])
def test_the_document_of_0_10_0_is_read_and_gains_no_status_that_nobody_knows(name: str) -> None:
    alert = Alert.from_json("a", RELEASES[name])
    assert (alert.notifications.deliveries, alert.revision) == (None, None)
    assert alert.to_json() == {**RELEASES[name], **NEWER}


def test_every_part_of_an_alert_is_read() -> None:
    alert = Alert.from_json("a", RELEASES["0.11.0 false alarm"])
    assert alert.started_at == datetime(2026, 3, 2, 6, 5, tzinfo=UTC)
    assert (alert.scope.subject, alert.peak.window_s, alert.series is None) == ("Nova", 7200, False)
    assert isinstance(alert.evidence[0].published_at, datetime)
    assert alert.source_profile is not None
    assert alert.source_profile.distinct_authors == RELEASES["0.11.0 false alarm"]["spread"]["voices"]
    assert alert.false_alarm is not None
    assert (alert.false_alarm.by, alert.false_alarm.note, alert.level) == ("ann", "a joke", "resolved")
    delivery = alert.notifications.by_channel["fake"]
    assert (delivery.notified_as, delivery.state, delivery.due_at) == ("critical", DeliveryState.PENDING, AT_ONCE)


def test_the_fields_of_a_newer_release_survive_a_change() -> None:
    newer = RELEASES["0.11.0 false alarm"] | {"clusters": [1]}
    newer = newer | {name: newer[name] | {"newer": 2} for name in ("spread", "false_alarm")}
    newer["evidence"] = [post | {"newer": 3} for post in newer["evidence"]]
    assert replace(Alert.from_json("a", newer), note="changed").to_json() == {**newer, "note": "changed"}


def test_what_a_document_leaves_out_has_its_default() -> None:
    sparse = Alert.from_json("a", {"started_at": AT.isoformat()})
    assert sparse == Alert(id="a", key="", started_at=AT, updated_at=AT)


def test_an_alert_of_which_nothing_is_known_is_an_open_warning_of_nothing() -> None:
    """Other releases write the same document, so that these values are part of the contract."""
    assert Alert(id="a", key="k", started_at=AT, updated_at=AT).to_json() == {
        "lane": "negative", "key": "k", "topic": "", "subject": "", "source": "", "severity": "warning",
        "state": "open", "started_at": AT.isoformat(), "updated_at": AT.isoformat(), "resolved_at": None,
        "first_notified_at": None, "last_notified_at": None, "observed": 0, "expected": 0.0, "posts": 0,
        "share": None, "expected_share": None, "lift": 0.0, "score": 0.0, "tier": "", "fire": 0.0,
        "false_alerts_per_key_week": None, "window_s": 3600, "cold": False, "sequence": 0, "related": [], "model": "",
        "query": "", "evidence": [], "terms": [], "spread": {}, "series": {}, "last_hour": {}, "note": "",
    }  # fmt: skip
    assert EvidencePost.from_json({}) == EvidencePost()
    assert EvidencePost().to_json() == {
        "id": "", "source": "", "url": "", "published_at": None, "text": "", "negative_score": 0.0, "reposts": 0,
    }  # fmt: skip


@pytest.mark.parametrize("value", [{}, {"started_at": 3}, {"started_at": AT.isoformat(), "evidence": [3]},
                                   {"started_at": "x"}, {"started_at": AT.isoformat(), "spread": [1]}])  # fmt: skip
def test_what_is_not_an_alert_is_said_to_be_none(value: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Alert.from_json("a", value)


def test_receivers_do_not_get_the_status_of_other_channels() -> None:
    alert = Alert.from_json("a", RELEASES["0.11.0 delivered"])
    sent = alert.for_receivers().to_json_with_id()
    assert sent.keys() == (RELEASES["0.11.0 published"].keys() | {"id"})
    assert sent["first_notified_at"] == RELEASES["0.11.0 delivered"]["first_notified_at"]


def test_a_state_of_a_newer_release_is_read_as_pending() -> None:
    newer: dict[str, Any] = {"channel": "c", "state": "summarised", "sequence": 2, "told": "critical", "digest": 1}
    assert Delivery.from_json(newer) == Delivery("c", sequence=2, notified_as="critical")
    late = Delivery("c", DeliveryState.HELD, AT + timedelta(hours=1), 2, "quiet hours", 3, "warning", AT)
    assert Delivery.from_json(late.to_json()) == late


def test_what_people_said_is_read_and_written_as_0_11_0_wrote_it() -> None:
    said: dict[str, Any] = {
            "acknowledged_at": "2026-03-02T01:02:03.000004+00:00", "acknowledged_by": "ann", "snooze_reason": "",
            "snoozed_until": "2026-03-02T05:00:00+00:00", "snoozed_by": "bob", "newer": 1}  # fmt: skip
    state = OperatorState.from_json(said)
    assert state.to_json() == said
    assert OperatorState().to_json() == {}
    assert state.is_snoozed_at(AT)
    assert state.is_snoozed_at(AT + timedelta(hours=5, seconds=-1))
    assert not state.is_snoozed_at(AT + timedelta(hours=5))
    assert not OperatorState().is_snoozed_at(AT)
