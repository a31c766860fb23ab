"""The real worker processes on a real Kafka and a real Elasticsearch."""

from __future__ import annotations

import gzip
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from pipeline.demo.feed import CRISIS, generate
from pipeline.domain.post import document_id
from pipeline.kafka import admin, dead_letters
from pipeline.settings import KafkaSettings
from tests.services.kafka import Kafka
from tests.services.process import free_port
from tests.system import System, drained, until

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]


def real_posts(folder: Path, limits: dict[str, int]) -> list[dict[str, Any]]:
    posts = []
    for name, limit in limits.items():
        with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            for _, line in zip(range(limit), lines, strict=False):
                row = json.loads(line)
                if row["text"].strip():
                    post = {"v": 1, "id": str(row["id"]), "source": name, "kind": "forum", "text": row["text"]}
                    posts.append(post | ({"published_at": row["created_at"]} if row.get("created_at") else {}))
    return posts


FEED = (
    '<?xml version="1.0" encoding="gb2312"?><rss version="2.0"><channel><title>新闻</title><item><title>诺瓦手机起火</title>'  # noqa: E501
    "<guid>a1</guid><description>&lt;p&gt;充电时&lt;b&gt;起火&lt;/b&gt;&lt;/p&gt;</description>"
    "<pubDate>Mon, 23 Nov 2026 21:05:00 +0800</pubDate></item></channel></rss>"
)
TABLE = '编号;内容;发布时间;点赞数\r\n1;电池又坏了;2026/11/23 21:05;1.2万\r\n2;"没有结束;2026/11/23 21:06;3\r\n3;客服很好;23.11.2026 21:07;3\r\n'  # noqa: E501


def test_files_as_they_come_are_found_in_the_store(system: System) -> None:
    system.run("classify")
    feed, table = system.folder / "feed.xml", system.folder / "posts.csv"
    feed.write_bytes(FEED.encode("gbk"))
    table.write_bytes(TABLE.encode("utf-16"))
    assert system.cli("ingest", str(feed), "--topic", system.topic, "--json")["produced"] == 1
    options = ("--topic", system.topic, "--source", "weibo", "--zone", "Asia/Shanghai", "--json")
    report = system.cli("ingest", str(table), *options, code=2)
    assert (report["produced"], report["rejected"], report["without_time"]) == (2, 1, 0)
    until(drained(system, 3), 120)
    system.store.refresh()
    news, first, third = (
        system.store.post(document_id(*key)) for key in (("新闻", "a1"), ("weibo", "1"), ("weibo", "3"))
    )
    assert news
    assert first
    assert third
    assert (news.post.title, news.post.text) == ("诺瓦手机起火", "充电时起火")
    assert (first.post.text, first.post.likes) == ("电池又坏了", 12000)
    assert [d.post.event_time.isoformat()[:16] for d in (news, first, third)] == [
        f"2026-11-23T13:0{n}" for n in (5, 5, 7)
    ]


@pytest.mark.shared_data
def test_five_thousand_real_posts_are_found_once_labelled_and_searchable(system: System, shared_data: Path) -> None:
    limits = {"semeval2017_4a.train": 2000, "bdci2018_car.train": 2000, "crisislex_t26.labeled": 1500}
    posts = real_posts(shared_data, limits)
    assert len(posts) >= 5000
    expected = {document_id(p["source"], p["id"]): p for p in posts}
    system.run("classify")
    report = system.ingest(posts)
    assert (report["produced"], report["rejected"], report["reasons"]) == (len(posts), 0, {})
    until(drained(system, len(posts)), 240)
    system.store.refresh()
    ids = list(system.store.ids())
    assert len(ids) == len(set(ids))
    assert set(ids) == set(expected)
    state = system.status()
    assert state["consumed"] == len(posts) == state["indexed"] + state["duplicate"]
    assert (state["indexed"], state["dead"], state["in_flight"]) == (len(expected), 0, 0)
    assert state["model"].startswith("starter ")
    for key, post in list(expected.items())[::250]:
        found = system.store.post(key)
        assert found
        assert found.labels["sentiment"] in {"negative", "neutral", "positive"}
        assert found.topic
        assert 0 <= found.scored.negative_score <= 1
        if when := post.get("published_at"):
            at = datetime.fromisoformat(when)
            assert found.post.event_time == at.replace(tzinfo=at.tzinfo or UTC)
    assert any("油耗" in d.post.text for d in system.store.search("油耗", 5))
    assert any("earthquake" in d.post.text.lower() for d in system.store.search("earthquake", 5))


def test_a_killed_worker_loses_nothing_and_doubles_nothing(system: System) -> None:
    posts = [json.loads(i.value) for i in generate()[:2500] if b"\xff" not in i.value]
    distinct = {document_id(p["source"], p["id"]) for p in posts}
    worker = system.run("classify", OPINIONWATCH_FLOW__BATCH_RECORDS="64")
    system.ingest(posts)

    def under_way() -> bool:
        system.store.refresh()
        return system.store.post_count() > 300

    until(under_way, 60)
    worker.kill()
    system.store.refresh()
    assert system.store.post_count() < len(distinct), "the kill came too late to show anything"
    system.run("classify")
    until(drained(system, len(posts)), 120)
    system.store.refresh()
    ids = list(system.store.ids())
    assert sorted(ids) == sorted(distinct)
    state = system.status()
    assert (state["consumed"], state["indexed"], state["dead"]) == (len(posts), len(distinct), 0)
    assert state["duplicate"] == len(posts) - len(distinct)


def test_poisons_are_listed_shown_and_replayed_and_sigterm_ends_cleanly(system: System) -> None:
    worker = system.run("classify")
    canary = "canary-in-a-post"
    bad = [b"\xff\xfe", b"[1]", b'{"v": 9, "source": "s", "id": "1", "text": "x"}', canary.encode() + b"\x1b[31m"]
    bad += [json.dumps({"source": "s", "id": "2", "text": "x" * 5_000_000}).encode(), b"[" * 200 + b"]" * 200]
    kafka = KafkaSettings(
        bootstrap_servers=system.env["OPINIONWATCH_KAFKA__BOOTSTRAP_SERVERS"],
        dead_topic=system.env["OPINIONWATCH_KAFKA__DEAD_TOPIC"],
    )
    with admin.producer(kafka) as send:
        for value in bad:
            send(system.topic, value)
        for when in ("1970-01-01T00:00:00Z", "2099-01-01T00:00:00Z"):
            post = {"source": "s", "id": when, "text": "when?", "published_at": when}
            send(system.topic, json.dumps(post).encode())
    until(drained(system, len(bad) + 2), 60)
    letters = system.cli("dead", "list", "--json")
    reasons = sorted(x["reason"] for x in letters)
    assert reasons == ["not_json", "not_object", "not_utf8", "too_deep", "too_large", "unknown_version"]
    assert sorted(x.value for x in dead_letters.dead_letters(kafka)) == sorted(bad)
    shown = system.cli("dead", "show", next(x["id"] for x in letters if x["reason"] == "not_json"))
    assert "\\x1b[31m" in shown
    assert "\x1b" not in shown
    assert system.cli("dead", "replay", "--reason", "not_object", "--dry-run", "--json")["replayed"] == 1
    assert system.cli("dead", "replay", "--reason", "not_object", "--json")["replayed"] == 1
    until(lambda: any(x["replayed"] == 1 for x in system.cli("dead", "list", "--json")), 30)
    system.store.refresh()
    for document in system.store.search("when", 5):
        assert document.post.time_suspect
        assert abs(document.post.event_time.timestamp() - time.time()) < 600
    started = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - started < 10
    assert canary not in system.logs()


def test_each_crisis_in_the_index_becomes_one_alert(system: System) -> None:
    """Posts of the last days of the demo; an hour of them is the warm-up of the watermark."""
    items = [i for i in generate() if (CRISIS - i.at).days < 9 and b"\xff" not in i.value]
    posts = [json.loads(i.value) for i in items]
    system.env["OPINIONWATCH_ALERTS__CHANNELS"] = json.dumps([{"name": "reader", "kind": "log"}])
    system.run("all")
    system.ingest(posts)
    until(drained(system, len(posts)), 240)

    def resolved() -> dict[str, str]:
        alerts = system.cli("alerts", "list", "--json")
        return {a["key"]: a["id"] for a in alerts if a["state"] == "resolved"}

    until(lambda: "subject:Nova" in resolved(), 90)
    assert resolved().keys() == {"subject:Greenleaf", "subject:Nova"}
    assert len(system.cli("alerts", "list", "--json")) == 2
    alert = system.cli("alerts", "show", resolved()["subject:Nova"], "--json")
    assert alert["observed"] > 2 * alert["expected"]
    assert alert["first_notified_at"]
    assert len(alert["evidence"]) == 5
    assert alert["query"].startswith("GET opinion-posts/_search")
    assert alert["pending"] == []


def test_check_names_each_failure_with_its_remedy(system: System) -> None:
    report = system.cli("check", "--json")
    assert all(row["ok"] for row in report), report
    assert [row["name"] for row in report][-3:] == ["store", "kafka", "kafka limits"]
    system.env["OPINIONWATCH_STORE__URL"] = f"http://127.0.0.1:{free_port()}"
    system.env["OPINIONWATCH_KAFKA__TOPICS"] = '["no.such.topic"]'
    report = {row["name"]: row for row in system.cli("check", "--json", code=78)}
    assert "refused" in report["store"]["problem"]
    assert "store.url" in report["store"]["remedy"]
    assert "no.such.topic" in report["kafka"]["problem"]
    assert "opinionwatch setup" in report["kafka"]["remedy"]
    assert list(report)[-1] == "kafka", "the remedy that needs the others comes last"
    assert report["model"]["ok"]


def test_a_topic_that_takes_small_records_only_is_named(system: System) -> None:
    admin = KafkaAdminClient(bootstrap_servers=system.env["OPINIONWATCH_KAFKA__BOOTSTRAP_SERVERS"])
    name = system.env["OPINIONWATCH_KAFKA__DEAD_TOPIC"]
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, {"max.message.bytes": "1000000"})])
    admin.close()
    report = {row["name"]: row for row in system.cli("check", "--json", code=78)}
    assert "records of at most 1000000 bytes" in report["kafka limits"]["problem"]
    assert f"--entity-name {name}" in report["kafka limits"]["remedy"]


def test_a_test_broker_takes_an_id_that_begins_with_a_dash(tmp_path: Path) -> None:
    Kafka(tmp_path, cluster="-xy28-9YQZegNQz2JdZo5w")
    assert "cluster.id=-xy28-9YQZegNQz2JdZo5w" in (tmp_path / "data" / "meta.properties").read_text()
