"""Keys by source: a forum that turns sour is told as such, a brand in trouble is told as the brand."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline.alerting.counting.overlap import counts_outside, shared_scope
from pipeline.alerting.counting.shares import key_shares
from pipeline.alerting.counting.table import CountTable, is_watched, key_name, rank, scopes_of
from pipeline.alerting.detection.negative_share import DetectorConfig
from pipeline.alerting.evaluation.episodes import Episode, Policy, Transition
from pipeline.alerting.evaluation.evaluator import Evaluator
from pipeline.alerting.evaluation.events import Event
from pipeline.alerting.evaluation.volume_lane import VolumeLane
from pipeline.domain.counting import Cell, NegativeDefinition, Scope
from pipeline.settings.alerts import AlertSettings
from pipeline.store.sqlite.store import SqliteStore
from tests.builders import START, json_key, scored

DAYS, LAST = 10, 9 * 24 * 60
BY_SOURCE = NegativeDefinition(sources=("autoforum", "weibo"))
Post = tuple[float, str, str, str, str]


def store_of(path: Path, trouble: list[Post]) -> SqliteStore:
    rng = random.Random(4)
    posts: list[Post] = []
    for _ in range(9000):
        sentiment = "negative" if rng.random() < 0.2 else "neutral"
        topic, subject = rng.choice(["autos", "technology"]), rng.choice(["Nova", "Kestrel", "Orbit", ""])
        posts.append(
            (rng.uniform(0, DAYS * 24 * 60), sentiment, topic, subject, rng.choice(["autoforum", "weibo", "x"]))
        )
    store = SqliteStore(path / "store.sqlite")
    store.setup()
    rows = [
        scored(i, minute=at, text=f"t{i}", sentiment=s, topic=topic, subjects=[subject] * bool(subject), source=source)
        for i, (at, s, topic, subject, source) in enumerate(sorted(posts + trouble))
    ]
    store.index(rows, START, 1)
    return store


def opened(store: SqliteStore, rule: NegativeDefinition) -> list[Event]:
    made = Evaluator(store, rule, DetectorConfig(), Policy())
    made.resume()
    events: list[Event] = []
    for end in (timedelta(hours=1), timedelta(days=DAYS)):
        for chunk in made.advance(START + end):
            events += chunk
            made.save()
    state = store.state(json_key("evaluator"))
    assert state
    assert [Episode.from_json(item).to_json() for item in state["episodes"]] == state["episodes"]
    found = [e for e in events if e.transition is Transition.OPENED]
    return [e for e in found if e.episode.fired_at > START + timedelta(minutes=LAST)]


def minutes(rng: random.Random, count: int) -> list[float]:
    return [LAST + rng.uniform(0, 180) for _ in range(count)]


def test_a_source_that_turns_sour_is_a_key_only_where_asked_for(tmp_path: Path) -> None:
    rng = random.Random(7)
    subjects, topics = ["Nova", "Kestrel", "Orbit", ""], ["autos", "technology"]
    trouble: list[Post] = [
        (at, "negative", topics[i % 2], subjects[i % 4], "autoforum") for i, at in enumerate(minutes(rng, 60))
    ]
    store = store_of(tmp_path, trouble)
    (event,) = [e for e in opened(store, BY_SOURCE) if e.episode.scope.source]
    assert event.episode.key == "source:autoforum"
    store.database.connection.execute("DELETE FROM state")
    assert not [e for e in opened(store, NegativeDefinition()) if e.episode.scope.source]


def test_a_brand_in_trouble_is_told_once_whatever_its_source(tmp_path: Path) -> None:
    rng = random.Random(8)
    trouble: list[Post] = [(at, "negative", "autos", "Nova", "weibo") for at in minutes(rng, 90)]
    store = store_of(tmp_path, trouble)
    # All of it is there, where it stands out five minutes before it does among all that is said of the brand.
    assert [e.episode.key for e in opened(store, BY_SOURCE)] == ["subject:Nova|source:weibo"]
    state = store.state(json_key("evaluator"))
    assert state
    assert {(source, subject) for _, subject, source, _, _ in state["past"] if subject} >= {
        ("", "Nova"),
        ("weibo", "Nova"),
    }


def test_state_of_a_release_without_sources_is_taken_over(tmp_path: Path) -> None:
    store = store_of(tmp_path, [])
    made = Evaluator(store, NegativeDefinition(), DetectorConfig(), Policy())
    made.resume()
    for _ in made.advance(START + timedelta(days=2)):
        made.save()
    state = store.state(json_key("evaluator"))
    assert state
    row = ["autos", "", START.isoformat(), (START + timedelta(days=1)).isoformat()]
    store.put_state(json_key("evaluator"), {**state, "past": [row]})
    made.resume()
    made.save()
    kept = store.state(json_key("evaluator"))
    assert kept
    assert kept["past"] == [["autos", "", "", *row[2:]]]


def test_the_keys_of_a_cell_and_their_order() -> None:
    table = CountTable(4)
    table.advance(1200)
    table.refill(
        [
            Cell(900, "autos", "", 5, 2),
            Cell(900, "autos", "Nova", 3, 2),
            Cell(900, "autos", "", 4, 2, "weibo"),
            Cell(900, "", "Nova", 2, 1, "weibo"),
        ],
        0,
    )
    found = {key_name(s): (int(table.posts[row, -1]), is_watched(s)) for row, s in enumerate(table.scopes)}
    assert found == {
        "topic:autos": (5, True),
        "subject:Nova": (3, True),
        "subject:Nova|topic:autos": (3, True),
        "source:weibo": (4, True),
        "topic:autos|source:weibo": (4, False),
        "subject:Nova|source:weibo": (2, True),
    }
    ordered = [key_name(s) for s in sorted(table.scopes, key=rank)]
    assert ordered[:3] == ["subject:Nova", "topic:autos", "source:weibo"]
    for cell in (Cell(0, "autos", "", 1, 0, "weibo"), Cell(0, "", "Nova", 1, 0, "weibo")):
        assert all(scope.source == "weibo" for scope in scopes_of(cell))


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        (Scope("autos"), Scope("", "", "weibo"), Scope("autos", "", "weibo")),
        (Scope("", "Nova"), Scope("", "Nova", "weibo"), Scope("", "Nova", "weibo")),
        (Scope("", "", "weibo"), Scope("", "", "x"), None),
        (Scope("", "Nova", "weibo"), Scope("autos", "Nova"), Scope("autos", "Nova", "weibo")),
    ],
)
def test_the_posts_that_two_keys_share(one: Scope, other: Scope, shared: Scope | None) -> None:
    assert shared_scope(one, other) == shared == shared_scope(other, one)


def test_what_a_key_has_beyond_another() -> None:
    """Of a subject within a topic and a source nobody counts the posts of both: the subject's others are the most."""
    table = CountTable(2)
    table.advance(600)
    table.refill(
        [
            Cell(300, "autos", "Nova", 9, 8),
            Cell(300, "games", "Nova", 4, 1),
            Cell(300, "", "Nova", 10, 8, "weibo"),
            Cell(300, "", "Nova", 3, 1, "x"),
        ],
        0,
    )
    last = slice(1, 2)
    in_autos, on_weibo, nova = Scope("autos", "Nova"), Scope("", "Nova", "weibo"), Scope("", "Nova")
    assert counts_outside(table, nova, on_weibo, last) == (3, 1, 0.0)
    assert counts_outside(table, on_weibo, nova, last) == (0, 0, 0.0)
    assert counts_outside(table, in_autos, on_weibo, last) == (3, 1, 0.0), "all that Nova has elsewhere may be of autos"
    assert counts_outside(table, Scope("games", "Nova"), on_weibo, last) == (3, 1, 0.0)
    assert counts_outside(table, on_weibo, Scope("games", "Nova"), last) == (9, 8, 0.0)
    assert counts_outside(table, on_weibo, Scope("", "Nova", "x"), last) is None
    assert counts_outside(table, nova, Scope("", "Orbit"), last) is None


def test_a_watched_source_stands_beside_topics_and_subjects_in_the_views(tmp_path: Path) -> None:
    store = store_of(tmp_path, [])
    shares = key_shares(store, BY_SOURCE, START + timedelta(days=DAYS), timedelta(days=DAYS), 1)
    assert sorted(shares) == [
        "source:autoforum", "source:weibo", "subject:Kestrel", "subject:Nova", "subject:Orbit", "topic:autos",
        "topic:technology",
    ]  # fmt: skip
    assert sum(shares[k][0][0] for k in ("topic:autos", "topic:technology")) == 9000


def test_a_surge_of_one_source_is_no_second_alert_beside_its_subject() -> None:
    lane, table = VolumeLane(Policy(fire=4.75, critical=7.0), []), CountTable(12)
    for bucket in range(16 * 288):
        many = 60 if bucket > 15 * 288 + 144 else 2
        end = (bucket + 1) * 300
        table.advance(end)
        cells = [("autos", "", ""), ("autos", "Nova", ""), ("autos", "", "weibo"), ("", "Nova", "weibo")]
        table.refill([Cell(end - 300, t, s, many, 0, source) for t, s, source in cells], end - 300)
        if bucket <= 15 * 288:
            lane.warm_up(table, 12)
        elif told := lane.step(table, 12):
            break
    assert [e.episode.key for e in told] == ["subject:Nova"]
    assert {e.scope.source for e in lane.state(0).episodes if e.inhibited_by} == {"", "weibo"}


def test_settings_name_the_sources() -> None:
    assert AlertSettings(sources=["weibo", "autoforum", "weibo"]).counting.sources == ("autoforum", "weibo")
    with pytest.raises(ValueError, match="at least 1 character"):
        AlertSettings(sources=[""])
