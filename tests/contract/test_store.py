"""One suite for every implementation of `Store`."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.alerting.counting.count_cache import CountCache
from pipeline.domain.annotation import Annotation
from pipeline.domain.counting import Cell, NegativeDefinition, Scope
from pipeline.domain.errors import Fatal
from pipeline.domain.post import Outcome, ScoredPost, Toward
from pipeline.domain.progress import Progress
from pipeline.domain.states import invalidation_key
from pipeline.domain.voices import Negativity, VoicePost
from pipeline.store.elasticsearch import templates
from pipeline.store.elasticsearch.store import ElasticsearchStore
from pipeline.store.protocol import Store
from pipeline.store.sqlite.store import SqliteStore
from tests.builders import START, an_alert, as_dict, json_key, scored, with_labels

RULE = NegativeDefinition()
DAY = timedelta(days=1)
#: The post document of the contract, and what it holds by field: analysts' queries and dashboards name these fields.
POST_FIELDS: dict[str, set[str]] = {
    "@timestamp": set(),
    "ingested_at": set(),
    "id": set(),
    "source": set(),
    "kind": set(),
    "url": set(),
    "title": set(),
    "text": set(),
    "author": set(),
    "lang": set(),
    "content_hash": set(),
    "repost": set(),
    "time_suspect": set(),
    "topic": set(),
    "topic_score": set(),
    "sentiment": set(),
    "sentiment_score": set(),
    "negative_score": set(),
    "labels": {"topic", "sentiment"},
    "scores": {"topic", "sentiment"},
    "subjects": set(),
    "engagement": {"reposts", "likes", "comments"},
    "model": {"name", "version"},
    "origin": {"topic", "partition", "offset"},
    "corrected": set(),
    "extra": {"mood"},
}


@pytest.fixture(params=["sqlite", pytest.param("elasticsearch", marks=pytest.mark.services)])
def blank(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store before setup."""
    opened: Store
    if request.param == "sqlite":
        opened = SqliteStore(tmp_path / "store.sqlite")
    else:
        opened = ElasticsearchStore(request.getfixturevalue("empty_elasticsearch"))
    yield opened
    opened.close()


@pytest.fixture
def store(blank: Store) -> Store:
    blank.setup()
    return blank


def index(store: Store, *posts: object, version: int = 1) -> list[Outcome]:
    outcomes = store.index(posts, START, version)  # type: ignore[arg-type]
    store.refresh()
    return outcomes


def test_before_setup_it_refuses_and_names_the_remedy(blank: Store) -> None:
    with pytest.raises(Fatal, match="opinionwatch setup"):
        blank.check()
    with pytest.raises(Fatal, match="opinionwatch setup"):
        blank.index([scored(1)], START, 1)


def test_posts_of_a_source_by_the_hour(store: Store) -> None:
    assert store.source_hours(START - DAY, START + DAY) == {}
    index(store, *(scored(i, minute=40 * i, source=("weibo", "reuters")[i % 3 == 0], text=f"t{i}") for i in range(6)))
    hour = int(START.timestamp())
    assert store.source_hours(START, START + DAY) == {
        "weibo": {hour: 1, hour + 3600: 1, hour + 2 * 3600: 1, hour + 3 * 3600: 1},
        "reuters": {hour: 1, hour + 2 * 3600: 1},
    }
    assert store.source_hours(START, START + timedelta(minutes=30)) == {"reuters": {hour: 1}}


def test_setup_twice_makes_nothing_more(store: Store) -> None:
    assert store.setup() == []
    assert "0 posts" in store.check()


def test_a_document_has_every_field_of_the_contract(store: Store) -> None:
    index(store, scored(1, title="标题", url="https://x.example/1", author="a", lang="zh", mood="calm", likes=3))
    found = store.post(scored(1).post.id)
    assert found is not None
    body = as_dict(found.to_json())
    assert body.keys() == POST_FIELDS.keys()
    assert {name: set(body[name]) for name, inner in POST_FIELDS.items() if inner} == {
        name: inner for name, inner in POST_FIELDS.items() if inner
    }
    assert body["@timestamp"] == (START + timedelta(minutes=1)).isoformat()
    assert body["extra"] == {"mood": "calm"}
    assert body["engagement"]["likes"] == 3
    assert body["origin"] == {"topic": "opinion.forum", "partition": 0, "offset": 1}
    assert store.post("no such id") is None


def test_the_same_record_again_is_a_redelivery_and_another_with_its_id_a_duplicate(store: Store) -> None:
    first, twin = scored(1), scored(7, id="1", text="post 1", minute=1)
    assert index(store, first) == [Outcome.INDEXED]
    assert index(store, first, twin) == [Outcome.REDELIVERED, Outcome.DUPLICATE]
    assert store.post_count() == 1
    assert list(store.ids()) == [first.post.id]


def test_a_higher_version_relabels_and_a_lower_one_does_not(store: Store) -> None:
    index(store, scored(1, sentiment="neutral"))
    assert index(store, scored(1, sentiment="negative"), version=2) == [Outcome.INDEXED]
    index(store, scored(1, sentiment="positive"), version=1)
    found = store.post(scored(1).post.id)
    assert found and found.labels["sentiment"] == "negative"
    assert store.post_count() == 1


def test_reposts_are_known_whatever_the_order_and_the_batch(store: Store) -> None:
    index(store, scored(1, text="手机 爆炸了"), scored(2, text="//@小明:手机 爆炸了"))
    index(store, scored(3, text="手机 爆炸了 http://t.cn/a"), scored(1, text="手机 爆炸了"))
    reposts = {}
    for offset in (1, 2, 3):
        document = store.post(scored(offset).post.id)
        assert document
        reposts[offset] = document.repost
    assert reposts == {1: False, 2: True, 3: True}


def test_counts_leave_reposts_out_and_split_by_topic_and_subject(store: Store) -> None:
    index(
        store,
        scored(0, text="a", sentiment="negative", subjects=["Nova"]),
        scored(1, text="RT @x: a", sentiment="negative", subjects=["Nova"]),
        scored(2, text="b", subjects=["Nova", "Kestrel"]),
        scored(3, text="c", topic="sports"),
        scored(8, text="d", sentiment="negative"),
    )
    bucket = int(START.timestamp())
    assert sorted(store.counts(START, START + DAY, RULE), key=str) == sorted(
        [
            Cell(bucket, "technology", "", 2, 1),
            Cell(bucket, "sports", "", 1, 0),
            Cell(bucket + 300, "technology", "", 1, 1),
            Cell(bucket, "technology", "Nova", 2, 1),
            Cell(bucket, "technology", "Kestrel", 1, 0),
        ],
        key=str,
    )
    assert store.counts(START, START, RULE) == []
    by_topic = NegativeDefinition("topic", ("sports",))
    assert sum(c.negatives for c in store.counts(START, START + DAY, by_topic) if not c.subject) == 1


def test_what_counts_as_negative_may_have_to_be_sure(store: Store) -> None:
    index(
        store,
        scored(0, text="a", sentiment="negative", negative_score=0.59998),  # .6 in the document
        scored(1, text="b", sentiment="negative", negative_score=0.5999),
        scored(2, text="c", sentiment="neutral", negative_score=0.9),
    )
    sure = NegativeDefinition(score_from=0.6)
    for rule, wanted in ((RULE, 2), (sure, 1)):
        assert [(c.posts, c.negatives) for c in store.counts(START, START + DAY, rule)] == [(3, wanted)]
        assert len(store.evidence(Scope("technology"), START, START + DAY, rule, 10)) == wanted
    assert "0.6" in store.evidence_query(Scope("technology"), START, START + DAY, sure)


def test_counts_of_the_sources_asked_for(store: Store) -> None:
    index(
        store,
        scored(0, text="a", source="weibo", sentiment="negative", subjects=["Nova"]),
        scored(1, text="RT @x: a", source="weibo", sentiment="negative", subjects=["Nova"]),
        scored(2, text="b", source="weibo", topic="sports", subjects=["Nova", "O'Neill"]),
        scored(3, text="c", source="it's", topic="sports", sentiment="negative"),
        scored(4, text="d", source="reuters", sentiment="negative", subjects=["Nova"]),
    )
    bucket = int(START.timestamp())
    asked = NegativeDefinition(sources=("it's", "weibo", "nobody"))
    plain, cells = (store.counts(START, START + DAY, rule) for rule in (RULE, asked))
    assert {c.source for c in plain} == {""}
    assert sorted((c for c in cells if not c.source), key=str) == sorted(plain, key=str)
    assert {c for c in cells if c.source} == {
        Cell(bucket, "technology", "", 1, 1, "weibo"),
        Cell(bucket, "sports", "", 1, 0, "weibo"),
        Cell(bucket, "", "Nova", 2, 1, "weibo"),
        Cell(bucket, "", "O'Neill", 1, 0, "weibo"),
        Cell(bucket, "sports", "", 1, 1, "it's"),
    }
    assert [e.document.post.text for e in store.evidence(Scope("", "Nova", "weibo"), START, START + DAY, RULE, 9)] == [
        "a"
    ]
    assert "reuters" in store.evidence_query(Scope(source="reuters"), START, START + DAY, RULE)


def test_counts_of_more_cells_than_a_page(store: Store) -> None:
    posts = [scored(i, minute=5 * i, text=f"t{i}", topic=f"topic{i % 3}") for i in range(5200)]
    for at in range(0, len(posts), 1000):
        store.index(posts[at : at + 1000], START, 1)
    store.refresh()
    cells = store.counts(START, START + 30 * DAY, RULE)
    assert len(cells) == 5200
    assert {c.posts for c in cells} == {1}
    assert sorted(store.ids()) == sorted(p.post.id for p in posts)
    assert store.bounds() == (posts[0].post.event_time, posts[-1].post.event_time)


def test_evidence_is_negative_once_per_group_and_hottest_first(store: Store) -> None:
    index(
        store,
        scored(0, text="mild", sentiment="negative", negative_score=0.6, subjects=["Nova"]),
        scored(1, text="hot", sentiment="negative", negative_score=0.5, subjects=["Nova"]),
        scored(2, text="RT @x: hot", sentiment="negative", negative_score=0.5, subjects=["Nova"]),
        scored(3, text="worst", sentiment="negative", negative_score=0.99, subjects=["Nova"]),
        scored(4, text="fine", subjects=["Nova"]),
        scored(5, text="other", sentiment="negative", subjects=["Kestrel"]),
    )
    found = store.evidence(Scope("", "Nova"), START, START + DAY, RULE, 2)
    assert [(e.document.post.text, e.reposts) for e in found] == [("hot", 1), ("worst", 0)]
    assert "Nova" in store.evidence_query(Scope("technology", "Nova"), START, START + DAY, RULE)
    every = NegativeDefinition(RULE.head, ())
    assert {e.document.post.text for e in store.evidence(Scope("", "Nova"), START, START + DAY, every, 9)} == {
        "hot", "worst", "mild", "fine",
    }  # fmt: skip
    assert "labels" not in store.evidence_query(Scope("", "Nova"), START, START + DAY, every)


@pytest.mark.parametrize(
    ("query", "hits"),
    [("电池", 1), ("池电", 0), ("battery", 1), ("手机 电池", 1), ("", 0), ('" OR 1=1 --', 0), ("不存在的词", 0)],
)
def test_search_finds_chinese_phrases_and_english_words(store: Store, query: str, hits: int) -> None:
    index(store, scored(1, text="新手机的电池很好"), scored(2, title="Battery", text="the Battery dies"))
    assert len(store.search(query, 10)) == hits


def test_progress_never_goes_back(store: Store) -> None:
    ahead = Progress("opinion.forum", 3, 50, 60, START, indexed=40, duplicate=8, dead=2)
    store.save_progress([ahead])
    store.save_progress([replace(ahead, next_offset=20, indexed=1)])
    assert store.load_progress() == {("opinion.forum", 3): ahead}
    store.save_progress([replace(ahead, end_offset=99, in_flight=7)])
    assert store.load_progress()["opinion.forum", 3].end_offset == 99


def test_progress_in_a_former_log_stays_beside_that_in_the_one_of_now(store: Store) -> None:
    old = Progress("opinion.forum", 3, 50, 50, START, indexed=50, log="cluster/1f", reported_at=START)
    new = replace(old, next_offset=4, end_offset=9, indexed=4, log="cluster/2e", reported_at=START + timedelta(days=1))
    unnamed = replace(old, next_offset=7, indexed=7, log="", reported_at=START - timedelta(days=1))
    store.save_progress([unnamed, old])
    store.save_progress([new])
    assert store.load_progress() == {("opinion.forum", 3): new}
    assert sorted(p.indexed for p in store.all_progress()) == [4, 7, 50]


def test_an_alert_never_goes_back(store: Store) -> None:
    opened = an_alert(sequence=0, pending=["0-opened"])
    resolved = an_alert(state="resolved", sequence=1, pending=["1-resolved"])
    told = an_alert(state="resolved", sequence=1, pending=[])
    assert store.put_alert(opened)
    assert store.put_alert(an_alert(sequence=0, pending=["0-opened"], held="quiet hours"))
    assert store.put_alert(resolved)
    assert not store.put_alert(an_alert(sequence=0, pending=[])), "of a process that no longer evaluates"
    assert store.put_alert(told)
    assert not store.put_alert(resolved), "it was told"
    assert store.alert("a") == told


def test_an_alert_changes_only_from_the_revision_that_stands(store: Store) -> None:
    alert = an_alert(sequence=3, pending=[])
    assert store.put_alert(alert), "as an older release writes it"
    assert store.put_alert(an_alert(sequence=3, revision=1, pending=["pager"]))
    assert not store.put_alert(replace(alert, revision=1, sequence=9)), "another came between"
    assert store.put_alert(replace(alert, revision=2, sequence=0))
    assert not store.put_alert(alert)
    assert store.alert("a") == replace(alert, revision=2, sequence=0)


def test_of_those_who_change_an_alert_at_once_each_is_kept(store: Store) -> None:
    def add(name: str) -> None:
        while True:
            there = store.alert("a") or an_alert()
            changed = replace(there, related=(*there.related, name), revision=(there.revision or 0) + 1)
            if store.put_alert(changed):
                return

    names = [f"n{i}" for i in range(12)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, names))
    found = store.alert("a")
    assert found is not None
    assert (sorted(found.related), found.revision) == (sorted(names), 12)


def delivery(channel: str, due_minute: float | None, attempts: int = 0) -> dict[str, Any]:
    due = None if due_minute is None else (START + timedelta(minutes=due_minute)).isoformat()
    return {"channel": channel, "state": "pending", "attempts": attempts, "sequence": -1, "told": "", "due_at": due,
            "detail": "", "at": None}  # fmt: skip


def test_each_channel_is_given_what_is_due_for_it(store: Store) -> None:
    def put(name: str, minute: int, *deliveries: dict[str, Any], **more: Any) -> None:
        pending = [d["channel"] for d in deliveries if d["due_at"]]
        at = (START + timedelta(minutes=minute)).isoformat()
        status = {"notifications": list(deliveries), "pending": pending, "revision": 1}
        assert store.put_alert(an_alert(name, started_at=at, **status, **more))

    put("second", 2, delivery("pager", 0), delivery("chat", None))
    put("first", 1, delivery("pager", -5), delivery("chat", 60))
    put("tried", 0, delivery("pager", 0, attempts=2), delivery("chat", 60, attempts=1), state="resolved")
    put("later", 0, delivery("pager", 61))
    put("done", 0, delivery("pager", None), state="resolved", unnotified="")
    put("quiet", 5, delivery("pager", None), unnotified="pager: refused")

    def due(channel: str, minute: int, limit: int = 10) -> list[str]:
        return [a.id for a in store.due_alerts(channel, START + timedelta(minutes=minute), limit)]

    assert due("pager", 0) == ["first", "second", "tried"]
    assert due("pager", 0, limit=1) == ["first"]
    assert due("pager", 61) == ["later", "first", "second", "tried"]
    assert due("chat", 0) == []
    assert due("chat", 60) == ["first", "tried"], "what another channel needed no tries for does not count here"
    assert due("nobody", 60) == []
    assert sorted(a.id for a in store.unsettled_alerts()) == ["first", "later", "quiet", "second", "tried"]
    assert store.open_alerts() == {"warning": 4, "critical": 0, "unnotified": 1}
    assert store.put_alert(an_alert("first", revision=2, pending=[], notifications=[]))
    assert due("pager", 0) == ["second", "tried"]


def test_what_is_due_goes_on_past_a_thousand_newer_alerts(store: Store) -> None:
    if isinstance(store, ElasticsearchStore):
        pytest.skip("a thousand refreshes; the query is the same for two alerts and for many")
    store.put_alert(an_alert("old", notifications=[delivery("pager", 0)], pending=["pager"]))
    for i in range(1100):
        store.put_alert(an_alert(f"n{i}", started_at=(START + DAY).isoformat(), pending=[]))
    assert [a.id for a in store.due_alerts("pager", START, 500)] == ["old"]


def test_of_writers_at_once_the_furthest_stands(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: store.put_alert(an_alert(sequence=n % 4, pending=[])), range(16)))
    assert [alert.sequence for alert in store.alerts()] == [3]


def test_alerts_and_state_are_read_back(store: Store) -> None:
    early = an_alert("a", evidence=[{"text": "中文"}])
    store.put_alert(early)
    store.put_alert(an_alert("b", state="resolved", started_at=(START + DAY).isoformat()))
    assert [a.id for a in store.alerts()] == ["b", "a"]
    assert store.alerts(open_only=True) == [early]
    store.put_alert(replace(early, state="resolved"))
    assert store.alerts(open_only=True) == []
    assert store.state(json_key("evaluator")) is None
    store.put_state(json_key("evaluator"), {"cursor": 5, "episodes": []})
    assert store.state(json_key("evaluator")) == {"cursor": 5, "episodes": []}
    store.put_state(json_key("other"), {"x": 1})
    both = {json_key("evaluator"): {"cursor": 5, "episodes": []}, json_key("other"): {"x": 1}}
    assert store.states([json_key(n) for n in ("evaluator", "none", "other")]) == both
    assert store.states([]) == {}


def test_state_is_exchanged_only_where_nobody_else_wrote(store: Store) -> None:
    first, second, other = {"cursor": 1, "past": [["a", 0.1]]}, {"cursor": 2}, {"cursor": 9}
    assert store.swap_state(json_key("evaluator"), None, first)
    assert not store.swap_state(json_key("evaluator"), None, second), "somebody was there first"
    assert store.swap_state(json_key("evaluator"), first, second)
    assert store.swap_state(json_key("evaluator"), first, second), "asked again after a lost answer"
    store.put_state(json_key("evaluator"), other)
    assert not store.swap_state(json_key("evaluator"), second, first)
    assert store.state(json_key("evaluator")) == other


def test_of_those_who_exchange_state_at_once_each_counts(store: Store) -> None:
    def add(_: int) -> None:
        while True:
            before = store.state(json_key("sum"))
            if store.swap_state(json_key("sum"), before, {"n": (before or {"n": 0})["n"] + 1, "by": random.random()}):
                return

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(20)))
    assert (store.state(json_key("sum")) or {})["n"] == 20


def test_documents_come_by_time_and_in_pages(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for page in ("sqlite.posts._PAGE", "elasticsearch.connection.PAGE"):
        monkeypatch.setattr(f"pipeline.store.{page}", 2)
    index(store, *(scored(i, minute=minute) for i, minute in enumerate([3, 1, 2, 1, 9])))
    found = list(store.documents(START, START + timedelta(minutes=9)))
    assert sorted(d.post.native_id for d in found[:2]) == ["1", "3"]
    assert [d.post.native_id for d in found[2:]] == ["2", "0"]


def test_a_later_model_replaces_labels_and_a_correction_outranks_it(store: Store) -> None:
    index(store, scored(1, sentiment="negative", subjects=["Nova"]), scored(2, sentiment="negative"))
    first, second = store.documents(START, START + DAY)
    calm: dict[str, Any] = {"sentiment": "neutral", "topic": "sports"}
    assert store.replace([with_labels(first, corrected=True, **calm)], 1000) == 1
    assert store.replace([first, with_labels(second, **calm)], 7) == 1
    assert store.replace([with_labels(second, **calm)], 7) == 0, "the same again changes nothing"
    store.refresh()
    changed = store.post(first.id)
    assert changed
    assert (changed.corrected, changed.topic, changed.scored.subjects) == (True, "sports", ("Nova",))
    cells = store.counts(START, START + DAY, RULE)
    assert {(c.topic, c.subject, c.negatives) for c in cells} == {("sports", "", 0), ("sports", "Nova", 0)}
    assert index(store, scored(1, sentiment="negative")) == [Outcome.REDELIVERED]


def test_who_writes_to_a_settled_day_marks_it(store: Store) -> None:
    now = START + 10 * DAY
    keys = [invalidation_key((START + i * DAY).date()) for i in (0, 1, 9)]
    store.index([scored(0, minute=0), scored(1, minute=9 * 1440)], now, 1)
    first = store.state(keys[0])
    assert first
    assert store.state(keys[1]) is store.state(keys[2]) is None, "nothing was written, and what is in time"
    store.index([scored(0, minute=0)], now, 1)
    second = store.state(keys[0])
    assert second != first, "a redelivery may be of a write whose mark was lost"
    store.refresh()
    store.replace([d for d in store.documents(START, START + DAY)], 7)
    assert store.state(keys[0]) != second


def test_kept_counts_are_those_of_the_posts_whatever_is_written(store: Store) -> None:
    now = START + 10 * DAY
    kept = CountCache(store, RULE, keep=True, now=lambda: now)

    def cells() -> list[Cell]:
        store.refresh()
        return sorted((c for _, _, part in kept.days(START + DAY / 2, now) for c in part), key=str)

    def counted() -> list[Cell]:
        store.refresh()
        return sorted(store.counts(START + DAY / 2, now, RULE), key=str)

    store.index([scored(i, minute=200 * i, text=f"t{i}", subjects=["星云"]) for i in range(60)], now, 1)
    assert cells() == counted()
    assert len(cells()) > 100
    store.index([scored(99, minute=3000, text="late", sentiment="negative")], now, 1)
    assert cells() == counted()
    late = [d for d in store.documents(START + 3 * DAY, START + 4 * DAY)]
    store.replace([with_labels(late[0], topic="sports", sentiment="negative")], 7)
    assert cells() == counted()
    reader = CountCache(store, NegativeDefinition("topic", ("sports",)), keep=False, now=lambda: now)
    assert sum(c.negatives for _, _, part in reader.days(START, now) for c in part if not c.subject) == 1


def test_labels_come_by_time_and_the_newest_of_an_annotator_counts(store: Store) -> None:
    one = Annotation("p1", "sentiment", "negative", "ann", START, "文本", "weibo", "zh", "neutral", "starter 0.2.0")
    two = replace(one, annotator="bob", label="neutral", at=START - DAY)
    store.put_annotations([one, two])
    store.put_annotations([replace(one, label="positive", at=START + DAY)])
    assert [(x.annotator, x.label) for x in store.annotations()] == [("bob", "neutral"), ("ann", "positive")]
    assert list(store.annotations())[0] == two


def test_labels_are_dropped_by_their_ids(store: Store) -> None:
    labels = [Annotation(f"p{i}", "sentiment", "negative", "ann", START + i * DAY, "文本") for i in range(3)]
    store.put_annotations(labels)
    assert (
        store.drop_annotations([labels[0], replace(labels[2], label="positive"), replace(labels[1], annotator="bob")])
        == 2
    )
    assert list(store.annotations()) == [labels[1]]
    assert store.drop_annotations([labels[0]]) == 0


def test_an_alert_is_found_by_its_id(store: Store) -> None:
    assert store.alert("none") is None
    store.put_alert(an_alert("a"))
    assert store.alert("a") == an_alert("a")


@pytest.mark.services
def test_setup_grows_what_an_older_release_made_and_workers_refuse_it_before(
    empty_elasticsearch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def older(*arguments: Any) -> dict[str, templates.Template]:
        made = {}
        for name, template in todays(*arguments).items():
            known = {field: kind for field, kind in template.properties.items() if field not in {"fire", "scores"}}
            made[name] = replace(template, properties=known, schema=1)
        return made

    todays = templates.templates
    monkeypatch.setattr(templates, "templates", older)
    made = ElasticsearchStore(empty_elasticsearch).setup()
    (current,) = (line[6:] for line in made if line.startswith("index opinion-posts-"))
    monkeypatch.undo()
    with pytest.raises(Fatal, match="older release.*opinionwatch setup"):
        ElasticsearchStore(empty_elasticsearch).check()
    with pytest.raises(Fatal, match="older release"):
        ElasticsearchStore(empty_elasticsearch).index([scored(1)], START, 1)
    new = ElasticsearchStore(empty_elasticsearch)
    assert new.setup() == [f"fields scores of index {current}", "fields fire of index opinion-alerts"]
    new.put_alert(an_alert(fire=4.5))
    new.index([scored(1)], START, 1)
    new.refresh()
    doubtful = {"range": {"scores.sentiment": {"lt": "0.75"}}}
    assert [hit["_source"]["scores"] for hit in new.connection.search(query=doubtful)["hits"]["hits"]] == [
        {"topic": 0.8, "sentiment": 0.7}
    ]


NOVA = Scope("", "Nova")


def judged(offset: int, *, sentiment: str = "neutral", toward: dict[str, Toward], **fields: Any) -> ScoredPost:
    """A post whose subjects a model judged one by one."""
    return scored(offset, sentiment=sentiment, subjects=list(toward), **fields)._replace(toward=toward)


def cells_of(store: Store, rule: NegativeDefinition = RULE) -> dict[tuple[str, str, str], tuple[int, int, float]]:
    """Posts, negatives and score sum of each topic, subject and source, over all buckets."""
    found: dict[tuple[str, str, str], tuple[int, int, float]] = {}
    for cell in store.counts(START, START + DAY, rule):
        posts, negatives, sums = found.get((cell.topic, cell.subject, cell.source), (0, 0, 0.0))
        counted = posts + cell.posts, negatives + cell.negatives, round(sums + cell.score_sum, 3)
        found[cell.topic, cell.subject, cell.source] = counted
    return found


def test_a_subject_counts_what_is_negative_toward_it_and_a_topic_the_whole_text(store: Store) -> None:
    index(
        store,
        judged(
            0,
            text="I left Nova for Kestrel and never looked back",
            sentiment="positive",
            negative_score=0.2,
            toward={"Nova": Toward("negative", 0.86, 0.86), "Kestrel": Toward("positive", 0.9, 0.02)},
        ),
        judged(1, text="b", sentiment="negative", negative_score=0.9, toward={"Nova": Toward("neutral", 0.6, 0.31)}),
    )
    by_source = NegativeDefinition(sources=("test",))
    assert cells_of(store, by_source) == {
        ("technology", "", ""): (2, 1, 1.1),
        ("technology", "Nova", ""): (2, 1, 0.85 + 0.3),
        ("technology", "Kestrel", ""): (1, 0, 0.0),
        ("technology", "", "test"): (2, 1, 1.1),
        ("", "Nova", "test"): (2, 1, 0.85 + 0.3),
        ("", "Kestrel", "test"): (1, 0, 0.0),
    }
    found = [e.document for e in store.evidence(NOVA, START, START + DAY, RULE, 9)]
    assert [(d.post.full_text, d.toward["Nova"]) for d in found] == [
        ("I left Nova for Kestrel and never looked back", Toward("negative", 0.86, 0.86))
    ]
    assert [e.document.post.text for e in store.evidence(Scope("technology"), START, START + DAY, RULE, 9)] == ["b"]
    assert store.evidence(Scope("", "Kestrel"), START, START + DAY, RULE, 9) == []


def test_a_document_without_toward_counts_by_the_whole_text_beside_one_with_it(store: Store) -> None:
    index(
        store,
        scored(0, text="old", sentiment="negative", negative_score=0.8, subjects=["Nova"]),
        judged(1, text="new", negative_score=0.1, toward={"Nova": Toward("negative", 0.7, 0.7)}),
        judged(2, text="calm", sentiment="negative", negative_score=0.9, toward={"Nova": Toward("neutral", 0.7, 0.1)}),
    )
    assert cells_of(store)["technology", "Nova", ""] == (3, 2, 1.6)
    (cell,) = (c for c in store.counts(START, START + DAY, RULE) if c.subject)
    assert (cell.posts, cell.negatives) == (3, 2), "one cell for old and new documents of a bucket"
    found = store.evidence(NOVA, START, START + DAY, RULE, 9)
    assert [e.document.post.text for e in found] == ["old", "new"], "the most negative toward Nova first"


def test_the_score_toward_a_subject_is_compared_in_steps_of_a_twentieth(store: Store) -> None:
    scores = (0.8249, 0.826, 0.85, 0.99)
    posts = (judged(i, text=f"t{i}", toward={"Nova": Toward("negative", s, s)}) for i, s in enumerate(scores))
    index(store, *posts)
    sure = NegativeDefinition(score_from=0.82)
    assert cells_of(store, sure)["technology", "Nova", ""] == (4, 3, 0.8 + 0.85 + 0.85 + 1.0)
    assert len(store.evidence(NOVA, START, START + DAY, sure, 9)) == 3


@pytest.mark.parametrize("rule", [NegativeDefinition("topic", ("sports",)), NegativeDefinition(negative=("angry",))])
def test_another_head_and_other_classes_count_the_whole_text(store: Store, rule: NegativeDefinition) -> None:
    index(
        store,
        judged(0, text="a", topic="sports", sentiment="angry", toward={"Nova": Toward("negative", 0.9, 0.9)}),
        judged(1, text="b", toward={"Nova": Toward("negative", 0.9, 0.9)}),
    )
    found = cells_of(store, rule)
    assert (found["sports", "Nova", ""][:2], found["technology", "Nova", ""][:2]) == ((1, 1), (1, 0))
    assert len(store.evidence(NOVA, START, START + DAY, rule, 9)) == 1


@pytest.mark.parametrize("name", ["a=b", "Nova=negative", "x=negative=0.85", "who's?", '"', "50%3D", "诺瓦", "%", "?"])
def test_any_name_of_a_subject_is_counted_as_itself(store: Store, name: str) -> None:
    other = Toward("neutral", 0.8, 0.1)
    index(
        store,
        judged(0, text="a", toward={name: Toward("negative", 0.9, 0.9), "Nova": other}),
        judged(1, text="b", toward={"Nova": other, "x": other, "a": other}),
    )
    counted = {subject: n for (_, subject, _), n in cells_of(store).items() if subject}
    assert counted == {name: (1, 1, 0.9), "Nova": (2, 0, 0.2), "x": (1, 0, 0.1), "a": (1, 0, 0.1)}
    found = store.evidence(Scope("", name), START, START + DAY, RULE, 9)
    assert [e.document.post.text for e in found] == ["a"]


def test_relabelling_replaces_the_sentiment_toward_a_subject(store: Store) -> None:
    index(store, judged(0, text="a", toward={"Nova": Toward("negative", 0.9, 0.9)}), scored(1, subjects=["Nova"]))
    documents = list(store.documents(START, START + DAY))
    calm = {"Nova": Toward("neutral", 0.8, 0.1)}
    assert store.replace([replace(d, scored=d.scored._replace(toward=calm)) for d in documents], 2) == 2
    assert store.replace([replace(d, scored=d.scored._replace(toward={})) for d in documents], 1) == 0
    store.refresh()
    assert cells_of(store)["technology", "Nova", ""] == (2, 0, 0.2)
    assert [d.toward for d in store.documents(START, START + DAY)] == [calm, calm]


def test_families_stay_with_the_document(store: Store) -> None:
    index(store, scored(0)._replace(families=("1f", "9c")))
    found = store.post(scored(0).post.id)
    assert found is not None
    assert found.scored.families == ("1f", "9c")


def of_voices(store: Store, most: int, rule: NegativeDefinition = RULE) -> dict[str, VoicePost]:
    """The posts of loud voices by their texts."""
    texts = {d.id: d.post.text for d in store.documents(START, START + DAY)}
    return {texts[post.id]: post for post in store.loud_voices(START, START + DAY, rule, most)}


def test_a_loud_voice_has_more_posts_of_one_key_than_the_most(store: Store) -> None:
    assert store.loud_voices(START, START + DAY, RULE, 1) == []
    nova, calm = Toward("negative", 0.84, 0.84), Toward("neutral", 0.8, 0.1)
    index(
        store,
        judged(0, text="a", author="ann", toward={"Nova": nova, "Kestrel": calm}),
        judged(1, text="b", author="ann", topic="sports", sentiment="negative", toward={"Nova": calm}),
        scored(2, text="c", author="ann", topic="business"),
        scored(3, text="RT @x: a", author="ann", subjects=["Nova"]),
        scored(4, text="d", author="bob"),
        scored(5, text="e", author="bob", topic="sports", subjects=["Nova"]),
        scored(6, text="f", topic="games"),
        scored(7, text="g", topic="games"),
    )
    found = of_voices(store, 1)
    assert found.keys() == {"a", "b", "c"}, "two posts of Ann are about Nova, and all her posts are needed"
    bucket, key = int(START.timestamp()), scored(0).post.id
    toward = {"Nova": Negativity(True, 0.85), "Kestrel": Negativity(False, 0.1)}
    assert found["a"]._replace(toward=dict(found["a"].toward)) == VoicePost(
        key, bucket, "technology", "test", "ann", (), Negativity(False, 0.1), toward
    )
    assert (found["b"].whole, found["b"].toward) == (Negativity(True, 0.9), {"Nova": Negativity(False, 0.1)})
    assert (found["c"].topic, found["c"].toward) == ("business", {})
    assert of_voices(store, 2) == {}
    assert of_voices(store, 2, NegativeDefinition(sources=("test",))).keys() == {"a", "b", "c"}
    assert store.loud_voices(START + timedelta(minutes=1), START + DAY, RULE, 1) == []


def test_near_copies_are_a_voice_whoever_wrote_them(store: Store) -> None:
    families = [("1f", "9c"), ("9c",), ("2e", "9c", "77"), ("2e",), ()]
    posts = [scored(i, text=f"t{i}", author=f"user{i}", subjects=["Nova"]) for i in range(len(families))]
    index(store, *(post._replace(families=mine) for post, mine in zip(posts, families, strict=True)))
    assert {text: set(post.families) for text, post in of_voices(store, 2).items()} == {
        f"t{i}": set(families[i]) for i in range(3)
    }
    assert of_voices(store, 1).keys() == {"t0", "t1", "t2", "t3"}


def test_the_posts_of_loud_voices_count_as_the_counts_count_them(store: Store) -> None:
    chance = random.Random(7)
    posts = []
    for number in range(300):
        score = round(chance.random(), 4)
        more = {"source": chance.choice(["weibo", "test"]), "topic": chance.choice(["sports", "technology"])}
        sentiment = "negative" if score > 0.5 else "neutral"
        post = scored(number, text=f"t{number}", author="ann", sentiment=sentiment, negative_score=score, **more)
        names = tuple(chance.sample(["Nova", "Kestrel", "a=b"], chance.randrange(3)))
        toward = {n: Toward("negative", 0.9, round(chance.random(), 4)) for n in names} if number % 3 else {}
        posts.append(post._replace(subjects=names, toward=toward))
    index(store, *posts)
    rule = NegativeDefinition(sources=("weibo",), score_from=0.7)
    added: defaultdict[tuple[int, str, str, str], list[Negativity]] = defaultdict(list)
    for found in store.loud_voices(START, START + DAY, rule, 3):
        source = found.source if found.source == "weibo" else ""
        added[found.bucket, found.topic, "", ""].append(found.whole)
        if source:
            added[found.bucket, found.topic, "", source].append(found.whole)
        for subject, judged_so in found.toward.items():
            added[found.bucket, found.topic, subject, ""].append(judged_so)
            if source:
                added[found.bucket, "", subject, source].append(judged_so)
    counted = {(c.bucket, c.topic, c.subject, c.source): c for c in store.counts(START, START + DAY, rule)}
    assert counted.keys() == added.keys()
    for key, posts_of_key in added.items():
        assert (counted[key].posts, counted[key].negatives) == (
            len(posts_of_key),
            sum(p.negative for p in posts_of_key),
        )
        assert counted[key].score_sum == pytest.approx(sum(p.score for p in posts_of_key), abs=1e-4)
