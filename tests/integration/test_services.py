"""The real worker processes on a real Kafka and a real Elasticsearch."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline import kafka_tools
from pipeline.demo.feed import CRISIS, generate
from pipeline.demo.phrases import SUBJECTS
from pipeline.posts import document_id
from pipeline.settings import KafkaSettings
from pipeline.store.elasticsearch import ElasticsearchStore
from tests.services.kafka import Kafka
from tests.services.process import ServiceProcess, free_port

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]
PYTHON = [sys.executable, "-c", "from pipeline.cli import main; main()"]


class System:
    """One set of topics and indices, its settings in the environment, and the command line on them."""

    def __init__(self, kafka: Kafka, elasticsearch_url: str, folder: Path) -> None:
        tag = uuid.uuid4().hex[:8]
        self.folder, self.topic = folder, f"{tag}.forum"
        self.env = {
            **os.environ,
            "OPINIONWATCH_KAFKA__BOOTSTRAP_SERVERS": kafka.address,
            "OPINIONWATCH_KAFKA__TOPICS": json.dumps([self.topic]),
            "OPINIONWATCH_KAFKA__DEAD_TOPIC": f"{tag}.dead",
            "OPINIONWATCH_KAFKA__PROGRESS_TOPIC": f"{tag}.progress",
            "OPINIONWATCH_KAFKA__ALERTS_TOPIC": f"{tag}.alerts",
            "OPINIONWATCH_KAFKA__GROUP": tag,
            "OPINIONWATCH_KAFKA__SESSION_TIMEOUT_S": "6",
            "OPINIONWATCH_STORE__URL": elasticsearch_url,
            "OPINIONWATCH_ALERTS__IDLE_S": "4",
            "OPINIONWATCH_SUBJECTS": json.dumps(SUBJECTS),
        }
        self.store = ElasticsearchStore(elasticsearch_url)
        self.workers: list[ServiceProcess] = []

    def cli(self, *arguments: str, code: int = 0) -> Any:
        """Runs a command; its JSON, or its text."""
        done = subprocess.run(
            [*PYTHON, *arguments], env=self.env, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stderr[-2000:]}"
        return json.loads(done.stdout) if "--json" in arguments else done.stdout

    def run(self, role: str, **env: str) -> ServiceProcess:
        """Starts a worker and waits until it is ready."""
        port = free_port()
        arguments = ["run", role, "--metrics-port", str(port), "--port", "0"]
        worker = ServiceProcess(role, [*PYTHON, *arguments], self.folder / f"{role}.log", {**self.env, **env})
        worker.start(lambda: self._ready(port))
        self.workers.append(worker)
        return worker

    @staticmethod
    def _ready(port: int) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def ingest(self, posts: list[dict[str, Any]]) -> dict[str, Any]:
        file = self.folder / "posts.jsonl"
        file.write_text("".join(json.dumps(p, ensure_ascii=False) + "\n" for p in posts))
        return dict(self.cli("ingest", str(file), "--topic", self.topic, "--json"))

    def status(self) -> dict[str, Any]:
        return dict(self.cli("status", "--json"))

    def logs(self) -> str:
        return "".join(file.read_text(errors="replace") for file in self.folder.glob("*.log"))


@pytest.fixture
def system(kafka_server: Kafka, empty_elasticsearch: str, tmp_path: Path) -> Iterator[System]:
    made = System(kafka_server, empty_elasticsearch, tmp_path)
    made.cli("setup")
    yield made
    for worker in made.workers:
        worker.kill()
    made.store.close()


def until(true: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.5)


def drained(system: System, posts: int) -> Callable[[], bool]:
    def done() -> bool:
        state = system.status()
        return bool(state["lag"] == 0 and state["consumed"] >= posts)

    return done


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


@pytest.mark.shared_data
def test_five_thousand_real_posts_are_found_once_labelled_and_searchable(system: System, shared_data: Path) -> None:
    limits = {"semeval2017_4a.train": 2000, "bdci2018_car.train": 2000, "crisislex_t26.labeled": 1500}
    posts = real_posts(shared_data, limits)
    assert len(posts) >= 5000
    expected = {document_id(p["source"], p["id"]): p for p in posts}
    system.run("classify")
    assert system.ingest(posts) == {"produced": len(posts), "rejected": 0, "reasons": {}}
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
        assert found["sentiment"] in {"negative", "neutral", "positive"}
        assert found["topic"]
        assert 0 <= found["negative_score"] <= 1
        if when := post.get("published_at"):
            at = datetime.fromisoformat(when)
            assert datetime.fromisoformat(found["@timestamp"]) == at.replace(tzinfo=at.tzinfo or UTC)
    assert any("油耗" in d["text"] for d in system.store.search("油耗", 5))
    assert any("earthquake" in d["text"].lower() for d in system.store.search("earthquake", 5))


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
    with kafka_tools.producer(kafka) as send:
        for value in bad:
            send(system.topic, value)
        for when in ("1970-01-01T00:00:00Z", "2099-01-01T00:00:00Z"):
            post = {"source": "s", "id": when, "text": "when?", "published_at": when}
            send(system.topic, json.dumps(post).encode())
    until(drained(system, len(bad) + 2), 60)
    letters = system.cli("dead", "list", "--json")
    reasons = sorted(x["reason"] for x in letters)
    assert reasons == ["not_json", "not_object", "not_utf8", "too_deep", "too_large", "unknown_version"]
    assert sorted(x.value for x in kafka_tools.dead_letters(kafka)) == sorted(bad)
    shown = system.cli("dead", "show", next(x["id"] for x in letters if x["reason"] == "not_json"))
    assert "\\x1b[31m" in shown
    assert "\x1b" not in shown
    assert system.cli("dead", "replay", "--reason", "not_object", "--dry-run", "--json")["replayed"] == 1
    assert system.cli("dead", "replay", "--reason", "not_object", "--json")["replayed"] == 1
    until(lambda: any(x["replayed"] == 1 for x in system.cli("dead", "list", "--json")), 30)
    system.store.refresh()
    for document in system.store.search("when", 5):
        assert document["time_suspect"]
        assert abs(datetime.fromisoformat(document["@timestamp"]).timestamp() - time.time()) < 600
    started = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - started < 10
    assert canary not in system.logs()


def test_a_crisis_in_the_index_becomes_one_alert(system: System) -> None:
    """Posts of the last three days of the demo; an hour of them is the warm-up of the watermark."""
    items = [i for i in generate() if (CRISIS - i.at).days < 9 and b"\xff" not in i.value]
    posts = [json.loads(i.value) for i in items]
    system.run("all")
    system.ingest(posts)
    until(drained(system, len(posts)), 240)
    until(lambda: any(a["state"] == "resolved" for a in system.cli("alerts", "list", "--json")), 90)
    alerts = system.cli("alerts", "list", "--json")
    assert [a["key"] for a in alerts] == ["subject:Nova"]
    alert = system.cli("alerts", "show", alerts[0]["id"], "--json")
    assert alert["observed"] > 2 * alert["expected"]
    assert alert["first_notified_at"]
    assert len(alert["evidence"]) == 5
    assert alert["query"].startswith("GET opinion-posts/_search")
    assert alert["pending"] == []


def test_check_names_each_failure_with_its_remedy(system: System) -> None:
    report = system.cli("check", "--json")
    assert all(row["ok"] for row in report.values()), report
    system.env["OPINIONWATCH_STORE__URL"] = f"http://127.0.0.1:{free_port()}"
    system.env["OPINIONWATCH_KAFKA__TOPICS"] = '["no.such.topic"]'
    report = system.cli("check", "--json", code=69)
    assert "cannot be reached" in report["store"]["detail"]
    assert "no.such.topic" in report["kafka"]["detail"]
    assert "opinionwatch setup" in report["kafka"]["detail"]
    assert report["model"]["ok"]
