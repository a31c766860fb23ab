"""What people are asked to label next, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from models.aliases import CHALLENGER, CHAMPION
from models.registry import Registry
from pipeline.annotation.queue import Candidate, candidates, frequencies, in_turns, new_words
from pipeline.cli.main import app
from pipeline.domain.post_document import PostDocument
from pipeline.store.sqlite.store import SqliteStore
from tests.builders import START, scored
from tests.unit.test_registry import bundle

NOTHING: frozenset[str] = frozenset()


def document(key: str, topic: str = "sports", score: float = 0.9, text: str = "", **more: Any) -> PostDocument:
    """A document as a release without `scores` wrote it."""
    labels = {**({"topic": topic} if topic else {}), "sentiment": "neutral"}
    times = {"@timestamp": START.isoformat(), "ingested_at": START.isoformat()}
    body = {**times, "source": "s", "sentiment_score": score, "text": text or key, "labels": labels, **more}
    return PostDocument.from_json(key, body)


def chosen(documents: list[PostDocument], limit: int, **more: Any) -> list[str]:
    options = {"labelled": NOTHING, "evidence": NOTHING, "new": NOTHING, "head": "sentiment", **more}
    return [c.document.id for c in in_turns(candidates(documents, per_topic=limit, **options), limit)]


def test_the_least_sure_come_first_and_topics_take_turns() -> None:
    sports = [document(f"s{i}", score=0.4 + i / 10) for i in range(5)]
    travel = [document(f"t{i}", "travel", score=0.5 + i / 10) for i in range(2)]
    assert chosen(sports + travel, 6) == ["s0", "t0", "s1", "t1", "s2", "s3"]
    not_asked = [document("r", score=0.1, repost=True), document("c", score=0.1, corrected=True)]
    assert chosen([*sports, *not_asked], 1) == ["s0"]
    assert chosen(sports, 1, labelled=frozenset(["s0"])) == ["s1"]


def test_a_scheme_of_ones_own_is_asked_by_its_own_scores_and_classes() -> None:
    """A model of intents: no topics; and a post of an older release, which kept no score of such a head."""

    def asked(key: str, intent: str, score: float) -> PostDocument:
        return document(key, "", labels={"intent": intent}, scores={"intent": score}, sentiment_score=0.0)

    refunds = [asked(f"r{i}", "refund", 0.3 + i / 10) for i in range(3)]
    delivery = [asked("d0", "delivery", 0.6), document("old", "", labels={"intent": "delivery"}, sentiment_score=0.0)]
    assert chosen([*refunds, *delivery], 5, head="intent") == ["r0", "d0", "r1", "old", "r2"]


def test_evidence_new_words_and_the_challenger_are_worth_a_bonus_each_and_say_why() -> None:
    sure = [document(f"s{i}", score=0.95, text="all is well") for i in range(50)]
    assert chosen([*sure, document("told", score=0.95)], 1, evidence=frozenset(["told"])) == ["told"]
    new = frozenset(["breakspot", "断流"])
    assert chosen([*sure, document("new", score=0.95, text="Breakspot again, 又断流了")], 1, new=new) == ["new"]
    one = Candidate(document("x"), "sports", 0.1)
    assert one.worth < Candidate(document("x"), "sports", 0.1, challenger="negative").worth
    every = Candidate(document("x"), "sports", 0.1, in_alert=True, new=("断流",), challenger="negative")
    assert every.why == ["unsure (0.90)", "the challenger says negative", "new words: 断流", "evidence of an alert"]


def test_words_that_came_up_are_new_and_usual_ones_and_rare_ones_are_not() -> None:
    usual = [document(f"u{i}", text=f"the coach praised the team 球队 赢了 比赛 {i}") for i in range(300)]
    slang = [document(f"n{i}", text="this phone is breakspot 手机 断流") for i in range(30)]
    once = document("once", text="a hapax")
    found = new_words(frequencies([*usual, *slang, once]), frequencies(usual))
    assert {"breakspot", "断流", "phone"} <= found
    assert not found & {"coach", "team", "球队", "hapax"}
    assert new_words(frequencies(slang), frequencies([])) == NOTHING, "of a first week everything would be new"
    reposts = [document(f"r{i}", text="zzz brandnew", repost=True) for i in range(30)]
    assert "brandnew" not in frequencies(reposts)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 100)), max_size=40), st.integers(1, 12))
def test_the_queue_is_that_of_all_posts_though_few_are_kept(rows: list[tuple[str, int]], limit: int) -> None:
    documents = [document(f"{i:02}", topic, n / 100) for i, (topic, n) in enumerate(rows)]
    whole = in_turns([Candidate(d, d.topic, 1.0 - d.scores["sentiment"]) for d in documents], limit)
    few = chosen(documents, limit)
    assert len(few) == min(limit, len(documents))
    assert [d.worth for d in whole] == pytest.approx([1.0 - documents[int(key)].scores["sentiment"] for key in few])


def test_the_command_asks_the_challenger_and_does_without_a_broken_one(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path / "registry"))
    for alias, version in ((CHAMPION, "1"), (CHALLENGER, "2")):
        registry.point(alias, registry.register(bundle(tmp_path, version), by="ann").id, by="ann", reason="a test")
    store = SqliteStore(tmp_path / "store.sqlite")
    store.setup()
    texts = ["This phone is terrible, I want my money back", "What a wonderful day, I love this phone"]
    store.index([scored(i, text=t, sentiment="positive", minute=i) for i, t in enumerate(texts)], START, 1)
    store.close()
    (tmp_path / "opinionwatch.toml").write_text(
        f'[store]\nurl = "sqlite:///{tmp_path / "store.sqlite"}"\n[model]\nregistry = "{tmp_path / "registry"}"\n'
    )
    command = ["labels", "queue", "--json", "--config", str(tmp_path / "opinionwatch.toml")]
    said = CliRunner().invoke(app, command)
    assert said.exit_code == 0, said.output
    rows = {row["text"]: row for row in json.loads(said.stdout)}
    assert rows[texts[0]]["why"] == ["unsure (0.70)", "the challenger says negative"]
    assert rows[texts[1]]["why"] == ["unsure (0.70)"]
    manifest = tmp_path / "registry" / "versions" / "starter-2" / "manifest.json"
    manifest.write_text(manifest.read_text()[:-9])
    said = CliRunner().invoke(app, command)
    assert said.exit_code == 0, said.output
    assert "does not consult the challenger" in said.stderr
    assert [row["why"] for row in json.loads(said.stdout)] == [["unsure (0.70)"]] * 2
