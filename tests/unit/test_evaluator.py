"""From counts to events: muting, restarts, late posts. On SQLite, with the real rule."""

from __future__ import annotations

import contextlib
import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.alerting.detection.negative_share import DetectorConfig
from pipeline.alerting.evaluation.episodes import Policy, Transition
from pipeline.alerting.evaluation.evaluator import Evaluator
from pipeline.alerting.evaluation.events import Event
from pipeline.alerting.evaluation.overrides import KeyOverride
from pipeline.alerting.evaluation.volume_lane import CALM, VolumeLane
from pipeline.domain.counting import Cell, NegativeDefinition
from pipeline.domain.errors import Transient
from pipeline.store.sqlite.store import SqliteStore
from tests.builders import START, SURGE, json_key, scored, surge

CRISIS = START + timedelta(days=9)
END = START + timedelta(days=10)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> SqliteStore:
    """Ten days of two brands in two topics; on the tenth Nova is in trouble for three hours."""
    rng = random.Random(3)
    posts = []
    for _ in range(6000):
        at = rng.uniform(0, 10 * 24 * 60)
        sentiment = "negative" if rng.random() < 0.2 else "neutral"
        posts.append((at, sentiment, rng.choice(["technology", "sports"]), rng.choice(["Nova", "Kestrel", ""])))
    posts += [(9 * 24 * 60 + rng.uniform(0, 180), "negative", "technology", "Nova") for _ in range(90)]
    store = SqliteStore(tmp_path_factory.mktemp("evaluator") / "store.sqlite")
    store.setup()
    rows = [
        scored(i, minute=at, text=f"t{i}", sentiment=s, topic=topic, subjects=[subject] if subject else [])
        for i, (at, s, topic, subject) in enumerate(sorted(posts))
    ]
    store.index(rows, START, 1)
    return store


def evaluator(store: SqliteStore) -> Evaluator:
    made = Evaluator(store, NegativeDefinition(), DetectorConfig(), Policy())
    made.resume()
    return made


def events(made: Evaluator, *watermarks: datetime) -> list[Event]:
    found = []
    for watermark in watermarks:
        for chunk in made.advance(watermark):
            found += chunk
            made.save()
    return found


@pytest.fixture(autouse=True)
def _no_state(store: SqliteStore) -> None:
    store.database.connection.execute("DELETE FROM state")


def test_the_subject_is_told_and_its_topic_muted(store: SqliteStore) -> None:
    found = [e for e in events(evaluator(store), START + timedelta(hours=1), END) if e.episode.fired_at > CRISIS]
    opened = [e for e in found if e.transition is Transition.OPENED]
    assert [e.episode.key for e in opened] == ["subject:Nova"]
    assert CRISIS - timedelta(minutes=15) <= opened[0].episode.started_at <= opened[0].episode.fired_at
    assert opened[0].episode.fired_at <= CRISIS + timedelta(minutes=60)
    assert found[-1].transition is Transition.RESOLVED


@pytest.mark.long
def test_steps_and_restarts_of_any_size_give_the_same_events(store: SqliteStore) -> None:
    whole = events(evaluator(store), START + timedelta(hours=1), END)
    store.database.connection.execute("DELETE FROM state")
    rng, at, pieces = random.Random(5), START + timedelta(hours=1), []
    while at < END:
        pieces += events(evaluator(store), at)
        at += timedelta(minutes=rng.choice([3, 40, 700]))
    pieces += events(evaluator(store), END)
    told = [(e.episode.id, e.transition, e.episode.sequence) for e in whole]
    assert [(e.episode.id, e.transition, e.episode.sequence) for e in pieces] == told


def test_at_the_very_first_start_old_spikes_are_only_learned_from(store: SqliteStore) -> None:
    late = END + timedelta(days=5)
    store.index([scored(9999, minute=15 * 24 * 60, text="later")], START, 1)
    assert events(evaluator(store), late) == []


def test_a_store_that_fails_while_history_is_learned_changes_nothing(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    events(evaluator(store), START + timedelta(hours=1), CRISIS)
    state = store.state(json_key("evaluator"))
    assert state
    whole = events(evaluator(store), END)
    store.put_state(json_key("evaluator"), state)
    calls = iter(range(1000))
    counts = store.counts

    def faulty(*arguments: Any) -> list[Cell]:
        if next(calls) in {2, 5}:
            raise Transient("503")
        return counts(*arguments)

    monkeypatch.setattr(store, "counts", faulty)
    made = evaluator(store)
    found: list[Event] = []
    for _ in range(4):
        with contextlib.suppress(Transient):
            found += events(made, END)
    told = [(e.episode.id, e.transition, e.episode.peak.score) for e in whole]
    assert [(e.episode.id, e.transition, e.episode.peak.score) for e in found] == told
    assert told


@pytest.mark.parametrize(
    ("rule", "keys", "severities"),
    [
        (KeyOverride(("subject:Nova",), watch=False), set(), set()),
        (KeyOverride(("subject:Nova",), fire=1000.0), set(), set()),
        (KeyOverride(("subject:Nova",), min_negatives=1000), set(), set()),
        (KeyOverride(("subject:Nova",), at_most_warning=True), {"subject:Nova"}, {"warning"}),
        (KeyOverride(("subject:Nova",), fire=3.0), {"subject:Nova"}, {"warning", "critical"}),
    ],
)
def test_a_rule_for_one_key(store: SqliteStore, rule: KeyOverride, keys: set[str], severities: set[str]) -> None:
    others = KeyOverride(("*",), watch=False)
    made = Evaluator(store, NegativeDefinition(), DetectorConfig(), Policy(), [rule, others])
    made.resume()
    found = events(made, END)
    assert {e.episode.key for e in found} == keys
    assert {e.episode.severity for e in found} == severities
    assert {e.tier for e in found} <= ({"by rule"} if rule.fire else {"under 10/h", "10 to 50/h"})


def loud(store: SqliteStore, *keys: KeyOverride) -> Evaluator:
    rule = Policy(fire=4.75, critical=7.0, calm=CALM)
    made = Evaluator(store, NegativeDefinition(), DetectorConfig(), Policy(), keys, VolumeLane(rule, keys))
    made.resume()
    return made


def test_a_surge_is_told_in_the_volume_lane_only_and_once(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.sqlite")
    store.setup()
    store.index(surge(), START, 1)
    end = START + timedelta(days=9)
    at_once = events(loud(store), START + timedelta(hours=1), end)
    opened = [e for e in at_once if e.transition is Transition.OPENED and e.episode.fired_at > SURGE]
    assert [(e.episode.lane, e.episode.key) for e in opened] == [("volume", "subject:Nova")]
    episode, series = opened[0].episode, opened[0].series
    assert episode.id.startswith("volume:subject:Nova@")
    assert SURGE < episode.fired_at <= SURGE + timedelta(minutes=40)
    assert episode.peak.observed > 2 * episode.peak.expected
    assert sum(series.posts) > sum(series.negatives) > 0
    assert [e.transition for e in at_once if e.episode.id == episode.id][-1] is Transition.RESOLVED
    assert "topic:technology" in {k for e in at_once if e.episode.id == episode.id for k in e.inhibited}

    store.database.connection.execute("DELETE FROM state")
    stepped = [
        e for hours in range(1, 9 * 24 + 1, 29) for e in events(loud(store), START + timedelta(hours=hours))
    ] + events(loud(store), end)
    assert [e.episode for e in stepped] == [e.episode for e in at_once], "restarts change nothing"

    store.database.connection.execute("DELETE FROM state")
    unwatched = events(loud(store, KeyOverride(("*",), watch=False)), START + timedelta(hours=1), end)
    assert unwatched == []


def test_switched_off_the_lane_ends_what_it_had_open(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.sqlite")
    store.setup()
    store.index(surge(), START, 1)
    [opened] = [
        e
        for e in events(loud(store), START + timedelta(hours=1), SURGE + timedelta(hours=1))
        if e.transition is Transition.OPENED and e.episode.fired_at > SURGE
    ]
    later = SURGE + timedelta(hours=1, minutes=10)
    [over] = events(evaluator(store), later)
    assert (over.transition, over.episode.id) == (Transition.RESOLVED, opened.episode.id)
    assert over.episode.resolved_at == later - timedelta(minutes=5)
    assert over.series.posts[-1] > 0
    assert events(evaluator(store), later + timedelta(hours=1)) == [], "and says nothing more"
