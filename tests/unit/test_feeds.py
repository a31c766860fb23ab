"""Feeds of every kind, encoding and brokenness, and the text that their readers see."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.files.encodings import FileError
from models.files.rows import BadRow, Row
from pipeline.ingest.feeds import is_json_feed, read_feed
from pipeline.ingest.markup import reader_text

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<rss version="2.0"><channel><title>News</title><link>https://n.example</link>'
END = "</channel></rss>"


def rss(*items: str) -> str:
    return HEAD + "\n".join(f"<item>{item}</item>" for item in items) + END


def posts(feed: str | bytes, **options: Any) -> list[dict[str, Any]]:
    rows = list(read_feed(feed if isinstance(feed, bytes) else feed.encode(), "f.xml", **options)[1])
    assert all(isinstance(row, Row) for row in rows), rows
    return [dict(row.values) for row in rows if isinstance(row, Row)]


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8", "诺瓦"), ("gb2312", "诺瓦手机起火"), ("gbk", "诺瓦手机起火"), ("gb18030", "诺瓦𠀀"), ("big5", "手機起火"),  # noqa: E501
        ("shift_jis", "電話が壊れた"), ("euc-jp", "電話が壊れた"), ("iso-2022-jp", "電話が壊れた"), ("euc-kr", "휴대폰 고장"),  # noqa: E501
        ("windows-1252", "“größer” €"), ("iso-8859-1", "größer"), ("windows-1251", "Телефон"), ("koi8-r", "Телефон"), ("utf-16", "诺瓦"),  # noqa: E501
        ("US-ASCII", "Nova"),
    ],
)  # fmt: skip
def test_the_declared_encoding_counts_and_a_wrong_one_does_not(encoding: str, text: str) -> None:
    feed = rss(f"<title>{text}</title><guid>1</guid>").replace("UTF-8", encoding)
    assert posts(feed.encode(encoding))[0]["title"] == text
    assert posts(feed.encode("utf-8"))[0]["title"] == text, "declared wrongly"
    assert posts(feed.encode("utf-8-sig"))[0]["title"] == text, "declared wrongly, with a mark"


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("gbk", "诺瓦手机起火，客服不理人"), ("big5", "手機起火了，客服不理人"),
        ("euc-kr", "휴대폰에 불이 났다"), ("euc-jp", "スマホが燃えた、最悪です"),
        ("windows-1251", "Телефон горит, это ужасно"), ("iso-8859-1", "Le téléphone a brûlé, c'est très gênant"),
        ("iso-8859-1", "größer als für Öl"),
    ],
)  # fmt: skip
def test_latin_1_is_believed_where_letters_say_so(encoding: str, text: str) -> None:
    feed = rss(f"<title>{text}</title><guid>1</guid>").replace("UTF-8", "iso-8859-1")
    assert posts(feed.encode(encoding))[0]["title"] == text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_a_json_feed_in_other_encodings(encoding: str) -> None:
    feed = {
        "version": "https://jsonfeed.org/version/1.1",
        "items": [{"id": 1, "content_text": "诺瓦手机起火，客服不理人"}],
    }
    data = json.dumps(feed, ensure_ascii=False).encode(encoding)
    assert is_json_feed(data)
    assert posts(data)[0]["text"] == "诺瓦手机起火，客服不理人"


@pytest.mark.parametrize(
    "end", ["", "</description></item></channel></rss>", "</description></item><item><title>n</title></item>"]
)
def test_a_text_whose_cdata_never_ends_is_read(end: str) -> None:
    feed = HEAD + f"<item><title>a</title><guid>1</guid><description><![CDATA[It <b>burns</b>{end}"
    assert posts(feed)[0]["text"] == "It burns"


def test_an_encoding_that_is_not_declared_is_found_out_or_given() -> None:
    feed = rss("<title>诺瓦手机起火，客服不理人</title><guid>1</guid>").replace(' encoding="UTF-8"', "")
    assert posts(feed.encode("gbk"))[0]["title"] == "诺瓦手机起火，客服不理人"
    assert posts(feed.encode("utf-16-le"))[0]["title"] == "诺瓦手机起火，客服不理人"
    polish = rss("<title>Telefon się zapalił</title><guid>1</guid>").encode("cp1250")
    assert posts(polish, encoding="cp1250")[0]["title"] == "Telefon się zapalił"


RDF = (
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/" '
    'xmlns:dc="http://purl.org/dc/elements/1.1/"><channel><title>T</title></channel><item rdf:about="http://x/1">'
    "<title>A</title><link>http://x/1</link><description>d</description><dc:creator>me</dc:creator>"
    "<dc:date>2026-11-23T21:05:00+08:00</dc:date></item></rdf:RDF>"
)
ATOM = (
    '<feed xmlns="http://www.w3.org/2005/Atom" xml:base="http://b.example/dir/"><title>F</title><entry><id>tag:1</id>'
    '<title type="text">a &lt;b&gt; c</title><link rel="self" href="self"/><link rel="alternate" href="post/1"/>'
    '<summary>s</summary><content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml"><p>Hi <b>there</b></p></div>'
    "</content><author><name>N</name></author><author><name>M</name></author>"
    "<published>2026-11-23T21:05:00+08:00</published><updated>2026-11-24T21:05:00+08:00</updated></entry></feed>"
)
NAMESPACES = (
    '<rss version="2.0" xmlns:content="http://purl.org/rss/1.0/modules/content/" '
    'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:media="http://search.yahoo.com/mrss/" '
    'xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd" xmlns:slash="http://purl.org/rss/1.0/modules/slash/">'
    "<channel><title>P</title>{}</channel></rss>"
)


@pytest.mark.parametrize(
    ("feed", "expected"),
    [
        (RDF, {"id": "http://x/1", "url": "http://x/1", "title": "A", "text": "d", "author": "me",
               "published_at": "2026-11-23T21:05:00+08:00"}),
        (ATOM, {"id": "tag:1", "url": "http://b.example/dir/post/1", "title": "a <b> c", "text": "Hi there", "author": "N, M",  # noqa: E501
                "published_at": "2026-11-23T21:05:00+08:00"}),
        ('<rss version="0.91"><channel><item><title>a</title><link>http://x/1</link><description>d</description></item></channel></rss>',
         {"url": "http://x/1", "title": "a", "text": "d"}),
        (NAMESPACES.format("<item><title>Update</title><guid>f1</guid><link>https://m.example/1</link><dc:creator>J. Doe</dc:creator>"  # noqa: E501
                           "<description>My</description><content:encoded><![CDATA[<p>My <b>Nova</b> burned.</p>]]></content:encoded>"  # noqa: E501
                           "<slash:comments>7</slash:comments></item>"),
         {"id": "f1", "url": "https://m.example/1", "title": "Update", "text": "My Nova burned.", "author": "J. Doe", "comments": "7"}),  # noqa: E501
        (NAMESPACES.format("<item><title>E</title><guid isPermaLink='true'>http://p/1</guid><itunes:author>IA</itunes:author>"
                           "<itunes:summary>what it is about</itunes:summary></item>"),
         {"id": "http://p/1", "url": "http://p/1", "title": "E", "text": "what it is about", "author": "IA"}),
        (NAMESPACES.format("<item><title>V</title><guid isPermaLink='false'>g2</guid><author>a@b.example (Bob)</author>"
                           "<media:group><media:description>a video</media:description></media:group></item>"),
         {"id": "g2", "title": "V", "text": "a video", "author": "Bob"}),
    ],
)  # fmt: skip
def test_the_kinds_of_feeds(feed: str, expected: dict[str, str]) -> None:
    assert posts(feed) == [expected]


def test_a_json_feed() -> None:
    item = {"id": 1, "url": "https://b.example/1", "content_html": "<p>Nova <b>burned</b></p>", "authors": [{"name": "A"}],  # noqa: E501
            "date_published": "2026-11-23T21:05:00Z"}  # fmt: skip
    feed = {"version": "https://jsonfeed.org/version/1.1", "title": "Blog", "items": [item, 3]}
    title, rows = read_feed(json.dumps(feed).encode(), "feed.json")
    first, second = rows
    assert title == "Blog"
    assert isinstance(first, Row)
    assert first.values == {
        "id": 1, "url": "https://b.example/1", "text": "Nova burned", "author": "A", "published_at": "2026-11-23T21:05:00Z",  # noqa: E501
    }  # fmt: skip
    assert isinstance(second, BadRow)


@pytest.mark.parametrize(
    ("feed", "title", "text"),
    [
        ("\n\n" + rss("<title>a</title><guid>1</guid>"), "a", None),
        ("<br />\nWarning: x\n" + rss("<title>a</title><guid>1</guid>"), "a", None),
        (rss("<title>a</title><guid>1</guid>") + "<!-- cached --><script>x</script>", "a", None),
        (rss("<title>A & B</title><link>http://x/?a=1&b=2</link><description>AT&T &foo; &copy;</description>"), "A & B", "AT&T &foo; ©"),  # noqa: E501
        (rss("<title>x</title><description>Prices&nbsp;fell &mdash; angry</description>"), "x", "Prices fell — angry"),
        (rss("<title>a\x0b\x00b</title><guid>1</guid>"), "ab", None),
        (rss("<title>a&#11;b</title><guid>1</guid>"), "ab", None),
        (rss("<title>x</title><content:encoded><![CDATA[<p>hi & you]]></content:encoded>"), "x", "hi & you"),
        (HEAD + "<item><title>cut off</title><guid>1</guid><descr", "cut off", None),
        (rss("<title>x</title><description>unclosed <b>bold</description>"), "x", "unclosed bold"),
        (rss("<title>AT&amp;amp;T</title><description>&lt;p&gt;&lt;img src='x' alt='nova'/&gt;It&amp;#8217;s free&lt;/p&gt;</description>"),  # noqa: E501
         "AT&T", "It’s free"),
        ("<!DOCTYPE rss [<!ENTITY e 'boo'>]>" + rss("<title>a &e;</title><guid>1</guid>").split("\n", 1)[1], "a &e;", None),  # noqa: E501
        ("<!DOCTYPE rss [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>" + rss("<title>a &e;</title><guid>1</guid>").split("\n", 1)[1], "a &e;", None),  # noqa: E501
    ],
)  # fmt: skip
def test_small_brokenness_is_read_as_readers_read_it(feed: str, title: str, text: str | None) -> None:
    found = posts(feed)
    assert len(found) == 1
    assert (found[0]["title"], found[0].get("text")) == (title, text)


def test_a_broken_item_costs_that_item_and_is_named_with_its_line() -> None:
    feed = HEAD + (
        "\n<item><title>one</title><guid>1</guid></item>\n<item><title>two<guid>2</guid></item>\n\n"
        "<item><title>three</title><guid>3</guid></item>\n</channel></rss>"
    )
    rows = list(read_feed(feed.encode(), "f.xml")[1])
    assert [(row.line, row.values["title"]) for row in rows if isinstance(row, Row)] == [(3, "one"), (6, "three")]
    assert [row.line for row in rows if isinstance(row, BadRow)] == [4]


@pytest.mark.parametrize(
    ("data", "word"),
    [(b"<html><body>404</body></html>", "HTML page"), (b"<x/>", "not an RSS"), (b"<", "not an RSS"), (b"", "an RSS"),
     (b'{"version":"https://jsonfeed.org/version/1"}', "JSON Feed")],
)  # fmt: skip
def test_what_is_no_feed_is_named(data: bytes, word: str) -> None:
    with pytest.raises(FileError, match=word):
        read_feed(data, "f.xml")


def test_no_name_opens_a_file_or_an_address() -> None:
    for data in (b"/etc/passwd", b"http://127.0.0.1:1/", b"file:///etc/passwd"):
        with pytest.raises(FileError, match="not an RSS"):
            read_feed(data, "f.xml")


def test_a_billion_laughs_stay_a_few_characters() -> None:
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    feed = f'<!DOCTYPE rss [<!ENTITY l0 "lol">{entities}]><rss><channel><item><title>&l9;</title><guid>1</guid></item></channel></rss>'  # noqa: E501
    started = time.perf_counter()
    assert posts(feed)[0]["title"] == "&l9;"
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<p>a</p><p>b</p>", "a\nb"), ("a<br>b<br/>c", "a\nb\nc"), ("<td>a</td><td>b</td>", "a b"), ("x < y and z > w", "x < y and z > w"),  # noqa: E501
        ("Vec<String> ok", "Vec<String> ok"), ('<img src="a>b" alt=\'x > y\'/>hi', "hi"), ("a<!-- x -->b<!-- z", "ab"),
        ("<style>a{}</style>b<script>c</script>", "b"), ("<p\nclass=x>q\n r", "q r"), ("<![CDATA[ab]]>", "ab"), ("I <3 you", "I <3 you"),  # noqa: E501
        ("&lt;p&gt; &amp;amp; &#x4e2d;", "<p> &amp; 中"), ("", ""),
    ],
)  # fmt: skip
def test_the_text_that_a_reader_sees(markup: str, text: str) -> None:
    assert reader_text(markup) == text


PIECES = [
    "<",
    "<a ",
    '<a "',
    "<a '",
    "<!--",
    "<script>",
    "&",
    "&#",
    "<p>",
    "</",
    '<a b="c" ',
    "<svg>",
    " ",
    "\n ",
    "<item>",
    "]]>",
]


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=3).map("".join))
@settings(max_examples=30)
def test_the_work_on_markup_is_linear(piece: str) -> None:
    started = time.thread_time()
    reader_text(piece * (60_000 // len(piece)))
    assert time.thread_time() - started < 1.5
