"""Inhibition is the same for both lanes: it only depends on counts, open episodes and what the lane's rule answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pytest

from pipeline.alerting.counting.overlap import Outside
from pipeline.alerting.counting.table import CountTable, key_name
from pipeline.alerting.evaluation.episodes import Episode, Observation
from pipeline.alerting.evaluation.inhibition import inhibitor_of, is_independent
from pipeline.domain.alert import NEGATIVE, VOLUME
from pipeline.domain.counting import Scope
from tests.builders import START

NOVA, AUTOS, NOVA_IN_AUTOS = Scope("", "Nova"), Scope("autos"), Scope("autos", "Nova")
#: One column. The topic has 10 negatives of its own beyond the 30 that it shares with the subject.
COUNTS = {NOVA: 40, AUTOS: 40, NOVA_IN_AUTOS: 30}
TABLE = CountTable.holding(list(COUNTS), *[np.array([[n] for n in COUNTS.values()])] * 2)


@dataclass(frozen=True)
class FakeCandidate:
    """Implements `Candidate` with a rule that asks for a number of negatives."""

    scope: Scope
    needs: int
    began: datetime = START
    subject: str = ""
    table: CountTable = TABLE
    alike: bool = True

    @property
    def columns(self) -> slice:
        return slice(0, 1)

    def began_at(self) -> datetime:
        return self.began

    def counts_like(self, other: Scope) -> bool:
        return self.alike

    def fires_with(self, counts: Outside) -> bool:
        return counts.negatives >= self.needs

    def subject_within(self) -> str:
        return self.subject


def episode(scope: Scope, lane: str = NEGATIVE, inhibited_by: str = "") -> Episode:
    peak = Observation(START, 6.0, 50, 40, 10.0, 0.2, 3600, False)
    return Episode(key_name(scope), scope, "warning", START, START, START, peak, inhibited_by=inhibited_by, lane=lane)


@pytest.mark.parametrize("lane", [NEGATIVE, VOLUME])
@pytest.mark.parametrize(("needs", "inhibited"), [(11, True), (10, False)])
def test_an_episode_inhibits_a_key_that_does_not_fire_without_its_posts(lane: str, needs: int, inhibited: bool) -> None:
    nova = episode(NOVA, lane)
    assert inhibitor_of(FakeCandidate(AUTOS, needs), [nova]) == (nova.id if inhibited else "")


def test_posts_that_are_negative_as_texts_and_not_toward_the_subject_do_not_make_its_topic_fire() -> None:
    """The subject has 60 posts in the topic: 30 are negative toward it, and all 60 are negative as texts."""
    posts, negatives = (
        np.array([[n] for n in found]) for found in ({NOVA: 80, AUTOS: 90, NOVA_IN_AUTOS: 60}.values(), (40, 70, 30))
    )
    table = CountTable.holding([NOVA, AUTOS, NOVA_IN_AUTOS], posts, negatives)
    nova = episode(NOVA)
    assert inhibitor_of(FakeCandidate(AUTOS, 11, table=table), [nova]) == ""
    assert inhibitor_of(FakeCandidate(AUTOS, 11, table=table, alike=False), [nova]) == nova.id
    assert inhibitor_of(FakeCandidate(AUTOS, 10, table=table, alike=False), [nova]) == "", "ten are of the topic alone"
    subject = FakeCandidate(NOVA_IN_AUTOS, 1, table=table, alike=False)
    assert inhibitor_of(subject, [episode(AUTOS)]) == episode(AUTOS).id, "the counts of a subject are of one kind"


def test_an_inhibited_episode_inhibits_nothing_and_no_key_inhibits_itself() -> None:
    topic = FakeCandidate(AUTOS, 11)
    assert inhibitor_of(topic, [episode(NOVA, inhibited_by="topic:games@20260302T0000Z"), episode(AUTOS)]) == ""


def test_a_topic_does_not_inhibit_a_subject_that_began_to_rise_after_the_topic_fired() -> None:
    topic = episode(AUTOS)
    assert inhibitor_of(FakeCandidate(NOVA, 11), [topic]) == topic.id
    assert inhibitor_of(FakeCandidate(NOVA, 11, began=START + timedelta(minutes=5)), [topic]) == ""
    subject = episode(NOVA)
    late = FakeCandidate(AUTOS, 11, began=START + timedelta(minutes=5))
    assert inhibitor_of(late, [subject]) == subject.id, "a subject inhibits its topic whenever that rises"


@pytest.mark.parametrize("lane", [NEGATIVE, VOLUME])
def test_an_inhibited_key_becomes_independent_by_posts_of_its_own(lane: str) -> None:
    nova = episode(NOVA, lane)
    topic = episode(AUTOS, lane, inhibited_by=nova.id)
    assert not is_independent(FakeCandidate(AUTOS, 11), topic, [nova])
    assert is_independent(FakeCandidate(AUTOS, 10), topic, [nova])
    assert is_independent(FakeCandidate(AUTOS, 11), topic, []), "the inhibitor has ended"
    assert not is_independent(FakeCandidate(AUTOS, 10, subject="subject:Nova"), topic, [nova])


@pytest.mark.parametrize("lane", [NEGATIVE, VOLUME])
def test_a_key_within_its_inhibitor_never_becomes_independent(lane: str) -> None:
    nova = episode(NOVA, lane)
    within = episode(NOVA_IN_AUTOS, lane, inhibited_by=nova.id)
    assert not is_independent(FakeCandidate(NOVA_IN_AUTOS, 0), within, [])
