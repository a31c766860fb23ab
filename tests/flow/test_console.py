"""What the console answers, and to whom."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

from pipeline.console.server import console_app, refuse_open_host
from pipeline.errors import Fatal
from pipeline.settings import HttpSettings
from pipeline.store.base import CountRule
from pipeline.store.sqlite import SqliteStore
from tests.builders import START, scored


def answered(folder: Path, host: str, *, behind_proxy: bool = False) -> tuple[int, str]:
    store = SqliteStore(folder / "store.sqlite")
    store.setup()
    store.index([scored(1, text="手机 <b>爆炸</b>")], START, 1)

    async def ask() -> tuple[int, str]:
        app = console_app(store, CountRule(), behind_proxy=behind_proxy)
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


@pytest.mark.parametrize("host", ["0.0.0.0", "console.example"])  # noqa: S104
def test_without_a_proxy_it_opens_to_nobody_else(host: str) -> None:
    with pytest.raises(Fatal, match="without a log-in"):
        refuse_open_host(HttpSettings(host=host))
    refuse_open_host(HttpSettings(host=host, behind_proxy=True))
