"""What the console answers, and to whom."""

from __future__ import annotations

import asyncio
import os
import re
import stat
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from pipeline.console.server import console_app, refuse_open_host, shown_alerts
from pipeline.console.shared import Shared
from pipeline.domain.alert import Alert
from pipeline.domain.alert_evidence import EvidencePost
from pipeline.domain.counting import Cell, NegativeDefinition, Scope
from pipeline.domain.errors import Fatal, Transient
from pipeline.domain.metrics import Metrics
from pipeline.domain.operator_state import OperatorState, operator_key
from pipeline.domain.states import StateKey, T
from pipeline.service.health import add_health
from pipeline.settings import HttpSettings
from pipeline.store.sqlite.store import SqliteStore
from tests.builders import START, an_alert, as_dict, json_key, scored


def answered(folder: Path, host: str, *, behind_proxy: bool = False, allowed: Sequence[str] = ()) -> tuple[int, str]:
    store = SqliteStore(folder / "store.sqlite")
    store.setup()
    store.index([scored(1, text="手机 <b>爆炸</b>")], START, 1)

    async def ask() -> tuple[int, str]:
        app = console_app(store, NegativeDefinition(), behind_proxy=behind_proxy, allowed_hosts=allowed)
        async with TestClient(TestServer(app)) as client:
            answer = await client.get("/api/search", params={"q": "爆炸"}, headers={"Host": host})
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            return answer.status, await answer.text()

    return asyncio.run(ask())


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:9000", "[::1]:8080"])
def test_it_answers_on_this_machine_and_through_a_tunnel(tmp_path: Path, host: str) -> None:
    status, text = answered(tmp_path, host)
    assert status == 200
    assert "爆炸" in text or "\\u7206\\u70b8" in text


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8080", "10.0.0.7:8080", ""])
def test_a_site_whose_name_is_made_to_lead_here_reads_nothing(tmp_path: Path, host: str) -> None:
    status, text = answered(tmp_path, host)
    assert status == 403
    assert "http.behind_proxy" in text
    assert answered(tmp_path, host or "news.example", behind_proxy=True)[0] == 200


def test_a_name_that_the_settings_allow_is_answered_and_beside_it_no_other(tmp_path: Path) -> None:
    for behind_proxy in (False, True):
        given: dict[str, Any] = {"behind_proxy": behind_proxy, "allowed": ["console.example"]}
        assert answered(tmp_path, "Console.Example:8080", **given)[0] == 200
        assert answered(tmp_path, "localhost:8080", **given)[0] == 200
        assert answered(tmp_path, "evil.example", **given)[0] == 403


@pytest.mark.parametrize(
    ("http", "host", "status"),
    [
        (HttpSettings(), "localhost:9108", 200),
        (HttpSettings(), "10.0.0.7:9108", 200),
        (HttpSettings(), "[::1]:9108", 200),
        (HttpSettings(), "evil.example", 403),
        (HttpSettings(), "127.0.0.1.evil.example", 403),
        (HttpSettings(allowed_hosts=["classify"]), "classify:9108", 200),
        (HttpSettings(allowed_hosts=["classify"]), "evil.example", 403),
        (HttpSettings(host="0.0.0.0"), "classify:9108", 200),  # noqa: S104
        (HttpSettings(host="0.0.0.0", allowed_hosts=["classify"]), "evil.example", 403),  # noqa: S104
    ],
)
def test_metrics_answer_to_scrapers_and_to_no_web_site(http: HttpSettings, host: str, status: int) -> None:
    async def ask() -> set[int]:
        app = web.Application()
        add_health(app, Metrics(CollectorRegistry()), lambda: None, http)
        async with TestClient(TestServer(app)) as client:
            paths = ("/metrics", "/readyz", "/livez")
            return {(await client.get(path, headers={"Host": host})).status for path in paths}

    assert asyncio.run(ask()) == {status}


class Slow(SqliteStore):
    """Answers one question after the other, and counts them."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked: Counter[str] = Counter()
        self.fails = False

    def counts(self, *given: Any) -> list[Cell]:
        self.asked["counts"] += 1
        time.sleep(0.05)
        if self.fails:
            raise Transient("the store is away")
        return super().counts(*given)

    def alerts(self, **given: Any) -> list[Alert]:
        self.asked["alerts"] += 1
        return super().alerts(**given)

    def state(self, key: StateKey[T]) -> T | None:
        self.asked["state"] += 1
        return super().state(key)

    def states(self, keys: Sequence[StateKey[T]]) -> dict[StateKey[T], T]:
        self.asked["states"] += 1
        return super().states(keys)


def asked(store: Slow, path: str, pages: int) -> list[tuple[int, Any]]:
    async def ask() -> list[tuple[int, Any]]:
        async with TestClient(TestServer(console_app(store, NegativeDefinition()))) as client:

            async def page() -> tuple[int, Any]:
                answer = await client.get(path)
                return answer.status, await answer.json()

            return [*await asyncio.gather(*(page() for _ in range(pages))), await page()]

    return asyncio.run(ask())


@pytest.fixture
def slow(tmp_path: Path) -> Slow:
    store = Slow(tmp_path / "store.sqlite")
    store.setup()
    store.index([scored(i, text=f"t{i}", subjects=["Nova"]) for i in range(50)], START, 1)
    return store


def test_thirty_pages_share_one_answer(slow: Slow) -> None:
    answers = asked(slow, "/api/shares", 30)
    assert {status for status, _ in answers} == {200}
    assert all(rows == answers[0][1] for _, rows in answers)
    assert sum(answers[0][1][0]["posts"]) == 50
    assert slow.asked["counts"] == 1


def test_an_answer_that_failed_is_not_kept(slow: Slow) -> None:
    slow.fails = True
    answers = asked(slow, "/api/shares", 5)
    assert {status for status, _ in answers} == {503}
    assert slow.asked["counts"] == 2
    slow.fails = False
    assert asked(slow, "/api/shares", 0)[0][0] == 200


def test_what_people_said_of_all_open_alerts_is_one_question(slow: Slow) -> None:
    for number in range(20):
        slow.put_alert(an_alert(f"a{number}", key=f"topic:{number}", pending=[]))
    slow.put_state(operator_key("a7"), OperatorState(acknowledged_at=START, acknowledged_by="ann"))
    shown = [as_dict(alert) for alert in shown_alerts(slow, START)]
    assert [a["operator"].get("acknowledged_by") for a in shown if a["id"] == "a7"] == ["ann"]
    assert sum("acknowledged by ann" in a["told"] for a in shown) == 1
    assert slow.asked == {"alerts": 1, "states": 1}


def test_an_alert_of_a_subject_says_toward_whom_its_posts_are_negative(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "s.sqlite")
    store.setup()
    post = EvidencePost("1", text="<b>Nova</b>", toward="negative", toward_score=0.9)
    store.put_alert(replace(an_alert("a"), scope=Scope("", "<i>Nova"), evidence=(post,)))
    (shown,) = map(as_dict, shown_alerts(store, START))
    assert (shown["toward"], shown["evidence"][0]["toward_score"]) == ("<i>Nova", 0.9)
    script = (resources.files("pipeline.console") / "static" / "console.js").read_text("utf-8")
    assert not {"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write"} & set(re.findall(r"[\w.]+", script))
    store.close()


def test_a_page_that_is_closed_takes_the_answer_from_nobody() -> None:
    async def ask() -> int:
        shared = Shared(lambda: time.sleep(0.05) or 7, 60.0)
        closed, open_ = asyncio.create_task(shared.get()), asyncio.create_task(shared.get())
        await asyncio.sleep(0.01)
        closed.cancel()
        return await open_

    assert asyncio.run(ask()) == 7


def test_an_answer_is_kept_ten_times_as_long_as_it_took() -> None:
    clock, found = [0.0], []

    def find() -> int:
        clock[0] += 3
        found.append(clock[0])
        return len(found)

    async def ask() -> list[int]:
        shared = Shared(find, 1.0, lambda: clock[0])
        answers = []
        for at in (0, 10, 32.9, 33.1):
            clock[0] = max(clock[0], at)
            answers.append(await shared.get())
        return answers

    assert asyncio.run(ask()) == [1, 1, 1, 2]


def test_reading_blocks_no_write(slow: Slow) -> None:
    """A reader that is in the middle of its rows, and a writer of the same process."""
    with slow.database.reading() as db:
        rows = db.execute("SELECT id FROM posts")
        first = rows.fetchone()
        writer = threading.Thread(target=lambda: slow.put_state(json_key("x"), {"y": 1}))
        writer.start()
        writer.join(5)
        assert first
        assert len(rows.fetchall()) == 49
        assert not writer.is_alive()
    assert slow.state(json_key("x")) == {"y": 1}
    with slow.database.writing() as db, slow.database.reading() as inner:
        assert inner is db, "what a transaction reads is its own"
    with pytest.raises(Transient), slow.database.reading() as db:
        db.execute("DELETE FROM posts")


def test_the_files_of_the_store_are_closed_to_other_users(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, before = tmp_path / "new" / "store.sqlite", os.umask(0)
    try:
        store = SqliteStore(path)
        store.setup()
        store.put_state(json_key("x"), {})
        files = {f.name: stat.S_IMODE(f.stat().st_mode) for f in path.parent.iterdir()}
        assert files == dict.fromkeys(("store.sqlite", "store.sqlite-wal", "store.sqlite-shm"), 0o600)
        assert not caplog.records
        for file in path.parent.iterdir():
            file.chmod(0o644)
        SqliteStore(path).close()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert "open to every user" in caplog.text
        path.chmod(0o660)
        SqliteStore(path).close()
        assert stat.S_IMODE(path.stat().st_mode) == 0o660, "a group that may read was let in on purpose"
    finally:
        os.umask(before)


@pytest.mark.parametrize("host", ["0.0.0.0", "console.example"])  # noqa: S104
def test_without_a_proxy_it_opens_to_nobody_else(host: str) -> None:
    with pytest.raises(Fatal, match="without a login"):
        refuse_open_host(HttpSettings(host=host))
    refuse_open_host(HttpSettings(host=host, behind_proxy=True))
    refuse_open_host(HttpSettings(host=host, allowed_hosts=["localhost"]))
