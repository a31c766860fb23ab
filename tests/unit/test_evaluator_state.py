"""The evaluator's state across releases: what 0.11 wrote is read, and what this release writes 0.11 can read."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

from pipeline.alerting.detection.thresholds import Threshold
from pipeline.alerting.evaluation.episodes import Episode, Observation, Transition
from pipeline.alerting.evaluation.events import Event
from pipeline.alerting.evaluation.exclusions import Period
from pipeline.alerting.evaluation.lane import LaneState
from pipeline.alerting.evaluation.state import EvaluatorState
from pipeline.domain.alert import NEGATIVE, VOLUME
from pipeline.domain.alert_evidence import Series
from pipeline.domain.counting import Scope
from tests.builders import START, as_dict

PEAK = Observation(START, 6.2, 80, 60, 20.5, 0.25, 3600, False)


def episode(scope: Scope, key: str, lane: str, inhibited_by: str) -> Episode:
    return Episode(
        key=key,
        scope=scope,
        severity="warning",
        started_at=START - timedelta(hours=1),
        fired_at=START,
        updated_at=START,
        peak=PEAK,
        reminded_at=START,
        inhibited_by=inhibited_by,
        lane=lane,
    )


NOVA = episode(Scope("", "Nova"), "subject:Nova", NEGATIVE, "")
AUTOS = episode(Scope("autos"), "topic:autos", NEGATIVE, NOVA.id)
SURGE = episode(Scope("", "", "weibo"), "source:weibo", VOLUME, "volume:subject:Nova@20260302T0000Z")
EVENT = Event(
    NOVA, Transition.OPENED, ("topic:autos",), Threshold(4.0, math.nan, 0.0), "under 10/h", Series(300, 300, (1,), (0,))
)
STATE = EvaluatorState(
    cursor=600,
    negative=LaneState((NOVA, AUTOS), (Period(Scope("autos"), 300, 600),)),
    volume=LaneState((SURGE,)),
    unrecorded=(EVENT,),
)


def test_the_state_is_read_back() -> None:
    found = EvaluatorState.from_json(STATE.to_json())
    assert math.isnan(found.unrecorded[0].threshold.per_key_week)
    comparable = replace(EVENT, threshold=replace(EVENT.threshold, per_key_week=0.0))
    found_event = replace(found.unrecorded[0], threshold=replace(found.unrecorded[0].threshold, per_key_week=0.0))
    assert found_event == comparable
    assert replace(found, unrecorded=()) == replace(STATE, unrecorded=())


def test_what_0_11_wrote_is_read() -> None:
    written = as_dict(STATE.to_json())
    for item in (*written["episodes"], *written["volume"], *(event["episode"] for event in written["unrecorded"])):
        del item["inhibited_by"]
    for event in written["unrecorded"]:
        del event["inhibited"]
    found = EvaluatorState.from_json(written)
    assert [e.inhibited_by for e in (*found.negative.episodes, *found.volume.episodes)] == [
        "",
        NOVA.id,
        SURGE.inhibited_by,
    ]
    assert found.unrecorded[0].inhibited == ("topic:autos",)


def test_after_a_rollback_0_11_finds_the_keys_that_it_reads() -> None:
    written = as_dict(STATE.to_json())
    episodes = (*written["episodes"], *written["volume"])
    assert [item["muted_by"] for item in episodes] == ["", NOVA.id, SURGE.inhibited_by]
    assert written["unrecorded"][0]["muted"] == ["topic:autos"]
    assert written["unrecorded"][0]["episode"]["muted_by"] == ""


def test_fields_of_a_newer_release_are_ignored_and_an_unreadable_episode_is_skipped() -> None:
    written = as_dict(STATE.to_json()) | {"added_later": 1}
    written["episodes"][0]["added_later"] = 2
    del written["volume"][0]["fired_at"]
    found = EvaluatorState.from_json(written)
    assert found.negative.episodes == (NOVA, AUTOS)
    assert found.volume.episodes == ()
