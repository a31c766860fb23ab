"""`ingest` over files of daily life, as the command runs, but for the broker."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from pipeline.classify.codec import decode
from pipeline.cli.main import app
from pipeline.domain.errors import Fatal
from pipeline.domain.post import Origin, Post, Record
from pipeline.ingest.columns import RowError, Rules, as_bytes, post_of, read_count
from pipeline.kafka import admin

NOW_MS = 1_800_000_000_000
H = "source,id,text,published_at,likes\n"


@pytest.fixture
def ingest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[list[Post], Result]]:
    sent: list[bytes] = []

    @contextmanager
    def producer(_: Any) -> Iterator[Callable[..., None]]:
        yield lambda _topic, value, key: sent.append(value)

    monkeypatch.setattr(admin, "producer", producer)
    monkeypatch.setattr("time.time", lambda: NOW_MS / 1000)
    monkeypatch.chdir(tmp_path)

    def run(name: str, data: bytes | str, *options: str, code: int = 0) -> tuple[list[Post], Result]:
        sent.clear()
        raw = data.encode() if isinstance(data, str) else data
        if name != "-":
            Path(name).write_bytes(raw)
        done = CliRunner().invoke(
            app, ["ingest", name, "--topic", "opinion.forum", *options], input=raw if name == "-" else None
        )
        exit_code = done.exception.exit_code if isinstance(done.exception, Fatal) else done.exit_code
        assert exit_code == code, (done.output, done.exception)
        return [decode(Record(Origin("t", 0, n), NOW_MS, value)) for n, value in enumerate(sent)], done

    return run


def test_a_bad_side_field_costs_that_field(ingest: Any) -> None:
    lines = [
        {"source": "x", "id": "1", "text": "a", "likes": 3.0, "published_at": 1795440300000},
        {"source": "x", "id": "2", "text": "b", "likes": "②", "author": 12345, "lang": ["en"], "kind": "tweet"},
        {
            "source": "x",
            "id": 3.0,
            "text": "c",
            "likes": None,
            "author": {"id": 7, "username": "u7"},
            "published_at": "soon",
        },
        {
            "source": "x",
            "id": "4",
            "text": "d",
            "likes": float("nan"),
            "published_at": float("inf"),
            "url": ["u"],
            "title": 5,
        },
        {"source": "x", "id": "5", "text": "\ud800"},
    ]
    posts, done = ingest("a.jsonl", "\n".join(map(json.dumps, lines)), "--json")
    assert [(p.native_id, p.likes, p.author, p.time_suspect) for p in posts] == [
        ("1", 3, "", False), ("2", 0, "12345", False), ("3", 0, "u7", True), ("4", 0, "", True),
    ]  # fmt: skip
    assert posts[0].event_time == datetime.fromisoformat("2026-11-23T13:25:00Z")
    assert posts[1].extra == {"likes": "②", "lang": '["en"]', "kind": "tweet"}
    told = json.loads(done.stdout)
    assert (told["produced"], told["rejected"], told["reasons"]) == (4, 1, {"lone_surrogate": 1})
    assert told["without_time"] == 3
    assert told["left_out"] == {"likes": 1, "lang": 1, "kind": 1}


def test_times_as_spreadsheets_write_them(ingest: Any) -> None:
    rows = 'weibo,1,a,2026/11/23 21:05,3\nweibo,2,b,23.11.2026 21:05:00,3\nweibo,3,c,11/23/2026 9:05:00 PM,"1,204"\n'
    posts, _ = ingest("a.csv", H + rows)
    assert {p.event_time.isoformat() for p in posts} == {"2026-11-23T21:05:00+00:00"}
    assert [p.likes for p in posts] == [3, 3, 1204]
    posts, _ = ingest("a.csv", H + rows, "--zone", "Asia/Shanghai")
    assert {p.event_time.isoformat() for p in posts} == {"2026-11-23T13:05:00+00:00"}
    posts, done = ingest("a.csv", H + "weibo,1,a,11/12/2026 10:00,\n")
    assert posts[0].time_suspect
    assert "without usable time 1" in done.stdout
    posts, _ = ingest("a.csv", H + "weibo,1,a,11/12/2026 10:00,\n", "--date-order", "mdy")
    assert posts[0].event_time.isoformat() == "2026-11-12T10:00:00+00:00"
    posts, _ = ingest("a.csv", "source,id,text,date,time\nx,1,a,2026-11-23,21:05\n")
    assert posts[0].event_time.isoformat() == "2026-11-23T21:05:00+00:00"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("caps.csv", "Source,ID,Text,Published At,Likes\nx,1,good,2026-11-23T21:05:00+08:00,3\n"),
        ("spaces.csv", "source, id, text, published_at, likes\nx,1,good,2026-11-23T21:05:00+08:00,3\n"),
        ("chinese.csv", "来源,编号,内容,发布时间,点赞数\nx,1,good,2026年11月23日 13:05,3\n".encode("gbk")),
        ("semicolon.csv", "source;id;content;date;favorite_count\nx;1;good;2026-11-23 13:05:00;3\n".encode("utf-8-sig")),  # noqa: E501
        ("tab.csv", "source\tid\tbody\ttime\tlikes\nx\t1\tgood\t1795439100\t3\n".encode("utf-16")),
        ("pandas.csv", ",source,id,message,created_at,likes\n0,x,1.0,good,2026-11-23T13:05:00,3.0\n"),
        ("x.json", json.dumps({"data": [{"id": "1", "text": "good", "created_at": "2026-11-23T13:05:00.000Z", "author_id": "9",  # noqa: E501
                                         "public_metrics": {"like_count": 3}}]})),
        ("tweets.jsonl", json.dumps({"id": 1461234567890123500, "id_str": "1", "full_text": "good", "favorite_count": 3,
                                     "user": {"screen_name": "u"}, "source": '<a href="https://x.example">App</a>', "created_at": "Mon Nov 23 13:05:00 +0000 2026"})),  # noqa: E501
        ("mastodon.json", json.dumps([{"id": "1", "content": "<p>good</p>", "favourites_count": 3, "account": {"acct": "u"},  # noqa: E501
                                       "created_at": "2026-11-23T13:05:00.000Z"}])),
        ("reddit.jsonl.gz", gzip.compress(json.dumps({"id": "1", "selftext": "good", "ups": 3, "created_utc": 1795439100.0}).encode(), mtime=0)),  # noqa: E501
        ("feed.json", json.dumps({"version": "https://jsonfeed.org/version/1.1", "title": "x", "items": [
            {"id": "1", "content_html": "good", "date_published": "2026-11-23T13:05:00Z"}]})),
        ("-", "source,id,text,time,likes\nx,1,good,1795439100,3\n"),
        ("-", "\ufeff[\n" + json.dumps({"source": "x", "id": 1, "text": "good", "time": 1795439100, "likes": 3}) + "]"),
    ],
)  # fmt: skip
def test_other_names_layouts_and_encodings_give_the_same_post(ingest: Any, name: str, data: bytes | str) -> None:
    posts, _ = ingest(name, data, "--source", "x")
    assert [(p.source, p.native_id, p.text, p.event_time.isoformat()) for p in posts] == [
        ("x", "1", "good", "2026-11-23T13:05:00+00:00")
    ]
    assert posts[0].likes == (0 if name == "feed.json" else 3)


def test_columns_can_be_named(ingest: Any) -> None:
    data = "id,Beitrag,wann,mood\n1,good,2026-11-23,x\n"
    posts, done = ingest("a.csv", data, "--source", "s", "--map", "text=Beitrag", "--map", "published_at=wann")
    assert (posts[0].text, posts[0].event_time.day, posts[0].extra) == ("good", 23, {"mood": "x"})
    assert "no field of a post: mood" in done.stdout
    _, done = ingest("a.csv", data, "--source", "s", code=2)
    assert "--map text=COLUMN" in str(done.exception)
    _, done = ingest("a.csv", data, "--source", "s", "--map", "text=beitrag2", code=2)
    assert "'beitrag2'" in str(done.exception)
    assert "Beitrag, wann" in str(done.exception)
    for bad in ("text", "txt=Beitrag"):
        ingest("a.csv", data, "--map", bad, code=2)
    ingest("a.csv", data, "--zone", "Mars/Olympus", code=2)


def test_ids_that_a_spreadsheet_rounded_make_no_two_posts_one(ingest: Any) -> None:
    rows = "x,4.91234567890123E+15,good,,\nx,4.91234567890123E+15,another,,\n"
    _, done = ingest("a.csv", H + rows, code=2)
    assert "rounded" in done.output
    assert "column as text" in done.output
    posts, _ = ingest("a.csv", f"url,{H}http://x/1,{rows.splitlines()[0]}\nhttp://x/2,{rows.splitlines()[1]}\n")
    assert [p.url for p in posts] == ["http://x/1", "http://x/2"]
    posts, _ = ingest("a.jsonl", '{"source": "x", "id": 4912345678901234567, "text": "a"}')
    assert posts[0].native_id == "4912345678901234567"


def test_an_unclosed_quote_costs_its_line_and_ends_with_2(ingest: Any) -> None:
    rows = [
        'weibo,1,"he said ""it burned",2026-11-23T21:05:00+08:00,3',
        'weibo,2,"unclosed,2026-11-23T21:05:00+08:00,3',
    ]
    rows += [f"weibo,{n},text number {n} is here and it is fine,2026-11-23T21:05:00+08:00,3" for n in range(3, 3000)]
    posts, done = ingest("a.csv", H + "\n".join(rows), code=2)
    assert len(posts) == 2998
    assert posts[0].text == 'he said "it burned'
    assert "a.csv:3: this line opens a quote" in done.output
    assert "line 3" in str(done.exception)


def test_more_values_than_columns(ingest: Any) -> None:
    posts, done = ingest(
        "a.csv", H + "x,1,a,2026-11-23T21:05:00Z,3,more\nx,2,good, but it burned,2026-11-23T21:05:00Z,3\n"
    )
    assert [(p.native_id, p.extra) for p in posts] == [("1", {"surplus": "more"})]
    assert "a.csv:3: shifted" in done.output


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("a.jsonl", "", "no row"), ("a.csv", H, "no row"), ("a.jsonl", "[]", "no row"), ("a.jsonl", "oops\n", "unreadable 1"),  # noqa: E501
        ("a.xml", "<rss><channel><title>t</title></channel></rss>", "no row"), ("a.xml", "<html></html>", "HTML page"),
        ("a.csv", b"PK\x03\x04", "Excel"), ("a.csv", "a,b\n1,2\n", "missing_field 1"), ("a.jsonl", b"\x1f\x8b\x08junk", "gzip"),  # noqa: E501
    ],
)  # fmt: skip
def test_a_file_of_which_nothing_was_used_ends_with_2_and_says_why(
    ingest: Any, name: str, data: bytes | str, why: str
) -> None:
    _, done = ingest(name, data, code=2)
    assert why in str(done.exception)


def test_a_feed_says_which_posts_have_no_time_and_what_names_nothing_is_told_apart(ingest: Any) -> None:
    items = "<item><title>a</title><pubDate>Fri, 20 Nov 2026 10:00:00 CST</pubDate></item><item><title>b</title></item>"
    feed = f'<rss version="2.0"><channel><title>诺瓦</title>{items}</channel></rss>'
    posts, done = ingest("f.rss", feed.encode("utf-16"), "--json")
    assert [p.event_time.isoformat() for p in posts][0] == "2026-11-20T16:00:00+00:00"
    assert {p.source for p in posts} == {"诺瓦"}
    assert len({p.id for p in posts}) == 2
    assert json.loads(done.stdout)["without_time"] == 1
    again, _ = ingest("g.rss", feed, "--source", "mine")
    assert [p.native_id for p in again] == [p.native_id for p in posts]
    assert {p.source for p in again} == {"mine"}


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=5,
)
NAMES = st.sampled_from(
    ["id", "id_str", "source", "text", "content", "author", "user", "time", "likes", "extra", "v", "内容"]
)


@pytest.mark.parametrize(
    ("written", "count"),
    [
        ("1,204", 1204), ("1 204", 1204), ("1\u00a0204", 1204), ("1\u202f204", 1204), ("1'204", 1204),
        ("1.234.567", 1234567),
        ("1.204", None), ("12,5", None), ("1,20,4", None),
    ],
)  # fmt: skip
def test_counts_with_their_thousands_apart(written: str, count: int | None) -> None:
    assert read_count(written) == count


@given(st.dictionaries(st.one_of(NAMES, st.text(max_size=5)), JSON, max_size=6))
def test_any_object_gives_json_or_a_reason(values: dict[str, Any]) -> None:
    try:
        raw = as_bytes(post_of(values, Rules(source="s")).post)
    except RowError as error:
        assert error.reason in {"rounded_id", "wrong_type"}
        return
    assert isinstance(json.loads(raw), dict)


@given(st.one_of(st.text(max_size=30), st.floats(), st.integers()))
def test_a_count_is_a_count_or_none(value: Any) -> None:
    count = read_count(value)
    assert count is None or 0 <= count <= 2**53
