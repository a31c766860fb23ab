"""The demo as a user runs it, through the embedded broker and the real Faust workers."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from models.engine import Encoded
from models.heads import Prediction
from pipeline.demo.feed import BURST, CRISIS, FLOODED, START, Item, generate
from pipeline.demo.play import Session, play
from pipeline.settings import resolve
from tests.builders import DummyClassifier
from tests.services.process import ServiceProcess, free_port

PYTHON = [sys.executable, "-c", "from pipeline.cli.main import main; main()"]


def demo(*arguments: str) -> tuple[dict[str, Any], str]:
    done = subprocess.run(
        [*PYTHON, "demo", "--once", "--json", "--no-console", *arguments],
        capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    return json.loads(done.stdout), done.stderr


def test_the_feed_is_the_same_every_time_and_adds_up() -> None:
    items = generate()
    assert [i.value for i in items] == [i.value for i in generate()]
    assert [i.at for i in items] == sorted(i.at for i in items)
    assert sum(abs((i.at - BURST).total_seconds()) < 4 * 3600 for i in items) > 200


def small_feed() -> list[Item]:
    """Nine days of a brand with a crisis on the last; what is negative is told again in both topics."""
    rng = random.Random(3)
    posts = [(rng.uniform(0, 9 * 1440), rng.random() < 0.15) for _ in range(1500)]
    posts += [(8 * 1440 + 700 + rng.uniform(0, 120), True) for _ in range(80)]
    items = []
    for number, (minute, bad) in enumerate(sorted(posts)):
        at = START + timedelta(minutes=minute)
        text = f"Nova is {'bad' if bad else 'fine'}, number {number // 2 if bad else number}"
        post = {"source": "a", "id": str(number), "text": text, "published_at": at.isoformat()}
        items.append(Item(rng.choice(["opinion.news", "opinion.forum"]), at, json.dumps(post).encode()))
    return items


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_same_feed_gives_the_same_alerts_each_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    @asynccontextmanager
    async def attend(session: Session) -> AsyncIterator[None]:
        yield

    def once(classifier: DummyClassifier) -> list[tuple[Any, ...]]:
        # The posts are near-copies of each other.
        settings, subjects = resolve(None, {"alerts.posts_per_voice": 0}).settings, {"Nova": ["Nova"]}
        summary = asyncio.run(play(settings, subjects, small_feed(), classifier, seconds=0, attend=attend))
        assert summary.indexed == summary.consumed == 1580
        assert all(alert.notifications.first_at for alert in summary.alerts)
        return [(a.key, a.severity, a.started_at, a.resolved_at, a.peak) for a in summary.alerts]

    runs = [once(DummyClassifier()), once(Slow(1)), once(Slow(2))]
    assert "subject:Nova" in {alert[0] for alert in runs[0]}
    assert runs[1:] == [runs[0]] * 2


class Slow(DummyClassifier):
    """Takes its time, now and then."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._rng = random.Random(seed)

    def infer(self, encoded: Encoded) -> list[Prediction]:
        time.sleep(self._rng.choice([0, 0, 0.05, 0.2]))
        return super().infer(encoded)


@pytest.mark.demo
def test_each_crisis_fires_once_and_neither_the_burst_nor_the_troll_nor_the_praised_rival_does() -> None:
    items = generate()
    summary, _ = demo()
    broken = sum(b"\xff" in i.value for i in items)
    distinct = len({i.value for i in items if b"\xff" not in i.value})
    assert summary["consumed"] == len(items)
    assert (summary["indexed"], summary["dead"], summary["in_flight"]) == (distinct, broken, 0)
    assert summary["duplicate"] == len(items) - distinct - broken
    alert, flooded = sorted(summary["alerts"], key=lambda a: a["started_at"], reverse=True)
    assert (alert["key"], flooded["key"]) == ("subject:Nova", "subject:Greenleaf")
    assert flooded["disputed"], "one author would hide it if each post counted"
    assert FLOODED.timestamp() - 3600 < _seconds(flooded["started_at"]) < FLOODED.timestamp() + 3 * 3600
    assert alert["severity"] == "critical"
    assert CRISIS.timestamp() - 3600 < _seconds(alert["started_at"]) < CRISIS.timestamp() + 3600
    assert alert["observed"] > 3 * alert["expected"]
    assert alert["first_notified_at"]
    assert alert["resolved_at"]
    assert len(alert["evidence"]) == 5
    assert max(post["reposts"] for post in alert["evidence"]) > 0


@pytest.mark.demo
def test_a_file_is_played_by_its_own_clock_and_a_wrong_line_is_named(tmp_path: Path) -> None:
    lines = [
        {"source": "a", "id": "2", "text": "later", "published_at": "2020-05-02T00:00:00Z"},
        {"source": "a", "id": "1", "text": "earlier", "published_at": "2020-05-01T00:00:00Z"},
        {"source": "a", "id": "3", "text": "odd time", "published_at": "2099-01-01T00:00:00Z"},
        {"source": "a", "id": "4"},
        {"source": "a", "id": "1", "text": "earlier", "published_at": "2020-05-01T00:00:00Z"},
    ]
    (tmp_path / "posts.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    summary, said = demo("--feed", "posts.jsonl")
    assert {k: summary[k] for k in ("consumed", "indexed", "duplicate", "dead", "in_flight", "alerts")} == {
        "consumed": 5, "indexed": 3, "duplicate": 1, "dead": 1, "in_flight": 0, "alerts": [],
    }  # fmt: skip
    assert "posts.jsonl:4: decode: missing_field" in said


@pytest.mark.parametrize("content", [None, ""])
def test_a_feed_that_is_not_there_or_empty_is_a_usage_error(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "posts.jsonl").write_text(content)
    done = subprocess.run(
        [*PYTHON, "demo", "--once", "--feed", "posts.jsonl"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "posts.jsonl" in done.stderr


@pytest.mark.demo
def test_ctrl_c_ends_cleanly_and_the_console_answers(tmp_path: Path) -> None:
    port = free_port()
    process = ServiceProcess("demo", [*PYTHON, "demo", "--json", "--port", str(port)], tmp_path / "demo.log")

    def get(path: str) -> tuple[Any, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.read().decode(), answer.headers

    def answers() -> bool:
        try:
            return bool(json.loads(get("/api/status")[0])["indexed"] > 200)
        except OSError:
            return False

    process.start(answers, timeout_s=60)
    page, headers = get("/")
    assert "告警" in page
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "console.js" in page
    assert len(json.loads(get("/api/search?q=%E8%AF%BA%E7%93%A6")[0])) > 0
    assert {row["key"] for row in json.loads(get("/api/shares")[0])} >= {"subject:Nova", "topic:technology"}
    started = time.monotonic()
    process.signal(signal.SIGINT)
    assert process.exit_code(20) == 0
    assert time.monotonic() - started < 15
    log = (tmp_path / "demo.log").read_text()
    assert "Traceback" not in log
    assert json.loads(log.splitlines()[-1])["consumed"] > 200


def _seconds(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp()
