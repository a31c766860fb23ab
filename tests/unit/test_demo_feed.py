"""`demo --feed` reads what `ingest` reads, and says what it could not use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.demo.play import read_feed
from pipeline.domain.errors import EXIT_USAGE, Fatal

ITEM = "<item><title>诺瓦手机起火</title><pubDate>Fri, 20 Nov 2026 08:00:00 GMT</pubDate></item>"
RSS = f'<rss version="2.0"><channel><title>N</title>{ITEM}</channel></rss>'
POST = {"source": "s", "id": "1", "text": "诺瓦手机起火", "published_at": "2026-11-20T08:00:00Z"}
TABLE = "编号,内容,时间,来源\n1,诺瓦手机起火，客服不理人,2026-11-20 08:00,s\n"


def played(folder: Path, name: str, data: bytes) -> tuple[list[tuple[str, str, dict[str, Any]]], list[str]]:
    said: list[str] = []
    (folder / name).write_bytes(data)
    items = read_feed(folder / name, "opinion.forum", said.append)
    return [(i.topic, i.at.isoformat(), json.loads(i.value)) for i in items], said


@pytest.mark.parametrize(
    ("name", "data", "source"),
    [
        ("a.jsonl", json.dumps(POST).encode("utf-8-sig"), "s"), ("a.json", json.dumps([POST], indent=1).encode(), "s"),
        ("a.csv", TABLE.encode("gb18030"), "s"), ("a.csv", TABLE.replace(",来源", "").replace(",s", "").encode(), "a"),
        ("a.xml", RSS.encode(), "N"),
    ],
)  # fmt: skip
def test_a_file_of_any_form_is_played_by_its_own_clock(tmp_path: Path, name: str, data: bytes, source: str) -> None:
    ((topic, at, post),), said = played(tmp_path, name, data)
    assert (at, post["source"]) == ("2026-11-20T08:00:00+00:00", source)
    assert "诺瓦手机起火" in post.get("text", "") + post.get("title", "")
    assert topic == ("opinion.news" if name == "a.xml" else "opinion.forum")
    assert not said


def test_what_cannot_be_used_is_named_and_counted(tmp_path: Path) -> None:
    lines = ["oops", json.dumps(POST), json.dumps({"source": "s", "id": "2"})]
    items, said = played(tmp_path, "a.jsonl", "\n".join(lines).encode())
    assert [post["id"] for _, _, post in items] == ["1", "2"], "what is no post becomes a dead letter"
    assert "a.jsonl:1: not JSON" in said[0]
    assert "a.jsonl:3: decode: missing_field" in said[1]
    assert "rejected 2" in said[2]


@pytest.mark.parametrize("data", [b"", b"id\n1\n", b"oops\n", b"<html></html>", b"PK\x03\x04", b'{"id": 1}\n'])
def test_a_file_of_which_nothing_is_used_is_a_usage_error(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(Fatal, match=r"a\.csv") as caught:
        played(tmp_path, "a.csv", data)
    assert caught.value.exit_code == EXIT_USAGE
