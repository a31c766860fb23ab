"""What a producer controls of a record, well-formed or not: it costs a field, or the record, and never much time."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatchBuilder
from kafka.record.memory_records import MemoryRecords

from models.text import MAX_NAME, clean, compatible, content_hash
from pipeline.alerting.alerts.evidence import _evidence_post
from pipeline.alerting.alerts.terms import source_profile
from pipeline.classify.codec import MAX_ID, MAX_LANG, MAX_URL, decode
from pipeline.classify.subjects import SubjectMatcher
from pipeline.domain.errors import Poison
from pipeline.domain.post import EPOCH, DeadLetter, Origin, Post, Record, document_id
from pipeline.domain.post_document import PostDocument, RepostedPost
from pipeline.kafka import dead_letters, writers
from pipeline.kafka.agent import to_record
from pipeline.settings import KafkaSettings
from tests.fuzz.texts import TEXTS

NOW_MS = 1_790_000_000_000
GOOD = {"v": 1, "id": "1", "source": "weibo", "text": "good phone"}


def decoded(timestamp_ms: int = NOW_MS, /, **fields: Any) -> Post:
    return decode(Record(Origin("opinion.news", 0, 1), timestamp_ms, json.dumps({**GOOD, **fields}).encode()))


def raw(headers: Any = (), timestamp: Any = NOW_MS, value: Any = b"{}") -> Any:
    return SimpleNamespace(topic="t", partition=0, offset=3, timestamp=timestamp, value=value, headers=headers)


@pytest.mark.parametrize(
    ("value", "count"),
    [(3.0, 3), (3.7, 3), ("3", 3), ("1,234", 1234), ("12.0", 12), ("1.2e3", 1200), (None, 0), ("", 0), (-5, 0),
     (2**70, 2**53), (1e308, 2**53), (" 7 ", 7)],
)  # fmt: skip
def test_a_count_is_read_in_every_form_that_has_one_meaning(value: Any, count: int) -> None:
    post = decoded(likes=value, reposts=value, comments=value)
    assert (post.likes, post.reposts, post.comments, post.ignored) == (count, count, count, ())


@pytest.mark.parametrize("value", ["many", "1,2", "１２", "9" * 5000, True, [], {}, "0x10", "nan", "1_000"])
def test_a_count_that_has_none_is_left_out_and_named(value: Any) -> None:
    post = decoded(likes=value)
    assert (post.likes, post.ignored) == (0, ("likes",))


@pytest.mark.parametrize(
    "fields",
    [{"kind": "blog"}, {"kind": 3}, {"lang": 7}, {"lang": "x" * 99}, {"lang": ["en"]}, {"url": 5}, {"url": "x" * 3000},
     {"url": "\ud800"}, {"author": {"name": "x"}}, {"author": True}, {"extra": [1]}, {"extra": "x"}, {"title": 7},
     {"title": "\ud800"}, {"published_at": {}}, {"published_at": "yesterday"}, {"published_at": True}],
)  # fmt: skip
def test_a_side_field_that_cannot_be_used_costs_itself(fields: dict[str, Any]) -> None:
    post = decoded(**fields)
    (field,) = fields
    assert post.ignored == (field,)
    assert (post.text, post.native_id, post.source) == ("good phone", "1", "weibo")
    assert post.time_suspect == (field == "published_at")
    if field != "published_at":
        # The language of the text takes the place of one that cannot be used.
        assert getattr(post, field) == {"extra": {}, "lang": "en"}.get(field, "")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"text": 5}, "wrong_type"),
        ({"text": "\ud800"}, "lone_surrogate"),
        ({"id": {}}, "wrong_type"),
        ({"id": 1.5}, "wrong_type"),
        ({"source": 3}, "wrong_type"),
        ({"source": "\u200b \x1b"}, "missing_field"),
        ({"source": "s" * 201}, "too_large"),
        ({"text": "x" * 100_001}, "too_large"),
        ({"title": "x" * 100_001}, "too_large"),
        ({"text": "\u200b"}, "missing_field"),
        ({"q": [[]] * 30_000}, "too_many_values"),
        ({"v": 2}, "unknown_version"),
        ({"v": True}, "unknown_version"),
        ({"v": []}, "unknown_version"),
        ({"v": {}}, "unknown_version"),
    ],
)
def test_a_field_that_is_needed_costs_the_post(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(Poison) as caught:
        decoded(**fields)
    assert caught.value.reason == reason


def test_numbers_are_read_where_texts_are_wanted() -> None:
    assert decoded(id=49021).native_id == decoded(id=49021.0).native_id == decoded(id="49021").native_id == "49021"
    assert decoded(author=12345).author == "12345"
    assert [decoded(v=v).id for v in ("1", 1.0, None)] == [decoded().id] * 3
    assert decoded(kind=" News ").kind == "news"


@pytest.mark.parametrize(
    "when", [1790000000, 1790000000000, 1790000000000000, "1790000000", "2026-09-21T14:13:20Z", "2026/09/21 14:13:20",
             "Mon, 21 Sep 2026 14:13:20 +0000"],
)  # fmt: skip
@pytest.mark.parametrize("field", ["published_at", "created_at"])
def test_times_are_read_in_every_form(field: str, when: Any) -> None:
    post = decoded(**{field: when})
    assert (post.event_time.timestamp(), post.time_suspect, post.ignored) == (1_790_000_000, False, ())


@pytest.mark.parametrize("stamp", [-1, 0, 5, -62135596800001, 253402300800000, 2**63 - 1, -(2**63)])
def test_a_record_without_a_usable_time_gives_a_post_whose_time_is_suspect(stamp: int) -> None:
    assert (decoded(stamp).event_time, decoded(stamp).time_suspect) == (EPOCH, True)
    post = decoded(stamp, published_at="2026-09-21T14:13:20Z")
    assert (post.event_time.timestamp(), post.time_suspect) == (1_790_000_000, True)
    assert decoded(stamp, published_at="9999-01-01T00:00:00Z").event_time == EPOCH


def test_microseconds_are_read() -> None:
    assert decoded(NOW_MS * 1000).event_time == decoded().event_time
    assert not decoded(NOW_MS * 1000).time_suspect


@pytest.mark.parametrize(
    ("headers", "replayed"),
    [(None, 0), ((), 0), ([("replayed", b"2")], 2), ([("replayed", None)], 0), ([("replayed", b"9" * 5000)], 0),
     ([("replayed", "²".encode())], 0), ([("replayed", b"-1")], 0), ([("replayed", b"\xff")], 0),
     ([("replayed", b"")], 0),
     ([("replayed", b"1"), ("replayed", b"3")], 3), ([("\ufffd", b"1"), ("", None)], 0)],
)  # fmt: skip
def test_hostile_headers_are_read_as_none(headers: Any, replayed: int) -> None:
    assert to_record(raw(headers)).replayed == replayed
    letter = dead_letters.to_letter(raw([*(headers or ()), ("bytes", b"9" * 5000), ("origin", b"a\x1b[2J/b")]))
    assert (letter.replayed, letter.size, letter.position) == (replayed, 2, None)
    assert letter.origin == "a/b"


def test_a_tombstone_is_a_poison() -> None:
    with pytest.raises(Poison):
        decode(to_record(raw(value=None, timestamp=None)))


@given(st.integers(-(2**63), 2**63 - 1))
def test_the_dead_letter_of_any_record_can_be_written(stamp: int) -> None:
    sent: list[dict[str, bytes]] = []

    class Topic:
        async def send(self, **record: Any) -> Any:
            sent.append(record["headers"])
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            future.set_result(None)
            return future

    letter = DeadLetter(Record(Origin("t", 0, 1), stamp, b"x"), "decode", "bug")
    asyncio.run(writers.DeadTopic(Topic(), app=None).send(letter))  # type: ignore[arg-type]
    assert set(sent[0]) == {"reason", "stage", "origin", "first_seen", "replayed"}


@pytest.mark.parametrize(
    "origin", ["", "x", "a/b/c", "opinion.dead/0/1", "opinion.alerts/0/1", "opinion.progress/0/1", "/0/1"]
)
def test_no_letter_is_sent_to_where_it_does_not_come_from(origin: str) -> None:
    letter = dead_letters.to_letter(raw([("origin", origin.encode())]))
    assert not dead_letters.replayable(KafkaSettings(), letter)
    assert dead_letters.replayable(KafkaSettings(), dead_letters.to_letter(raw([("origin", b"opinion.old/0/1")])))


@pytest.mark.parametrize("compression", [0, 1])
def test_a_header_name_that_is_no_utf8_hides_no_letter(compression: int) -> None:
    builder = DefaultRecordBatchBuilder(2, compression, False, -1, -1, -1, 10_000)
    for offset in range(3):
        builder.append(offset, NOW_MS, None, b"value", [("reason", b"bug"), ("\x7f\x7f", b"1")])
    batch = bytes(builder.build())
    if compression:
        payload = gzip.compress(gzip.decompress(batch[61:]).replace(b"\x7f\x7f", b"\xff\xfe"))
        batch = batch[:8] + (len(payload) + 49).to_bytes(4, "big") + batch[12:61] + payload
    else:
        batch = batch.replace(b"\x7f\x7f", b"\xff\xfe")
    (found,) = (list(b) for b in iter(MemoryRecords(batch).next_batch, None))
    assert [dict(record.headers) for record in found] == [{"reason": b"bug", "\ufffd\ufffd": b"1"}] * 3


HOSTILE = "a\x1b]0;x\x07\x1b[2J\u202eb\r\n\u2028\u200bc\x85d"


def test_every_field_that_people_see_is_clean() -> None:
    fields = dict.fromkeys(("id", "source", "url", "title", "text", "author", "lang", "published_at"), HOSTILE)
    post = decoded(**fields, kind=HOSTILE, extra={HOSTILE: HOSTILE, "deep": {HOSTILE: [HOSTILE]}}, more=HOSTILE)
    for name in ("native_id", "source", "url", "title", "author", "lang", "kind"):
        assert getattr(post, name).isprintable(), name
    assert post.url == "ab%20c%20d"
    for text in (post.text, *post.extra, *post.extra.values()):
        assert text.replace("\n", "").isprintable(), text
    assert post.id == document_id(HOSTILE, HOSTILE), "the id is that of what was sent"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("a\x1b[31mb\x1b[0m", "ab"), ("a\x1b[1;38;5;200mb", "ab"), ("a\x1b[2K\x1b[1Gb", "ab"), ("a\x9b31mb", "ab"),
        ("\x1b]0;title\x07a", "a"), ("\x1b]8;;http://x\x1b\\a\x1b]8;;\x1b\\", "a"), ("a\x1b(B\x1b[mb", "ab"),
        ("\x1bP1$r0m\x1b\\a", "a"), ("a\x1b[", "a["), ("a\x1b]no end\nb", "a]no end\nb"), ("a [31m b", "a [31m b"),
        ("\x9b quoted \x9c", " quoted "),
    ],
)  # fmt: skip
def test_what_steers_a_terminal_leaves_nothing_and_takes_no_text_along(written: str, read: str) -> None:
    assert clean(written) == read


def test_a_number_of_any_length_costs_its_field() -> None:
    value = b'{"source":"s","id":"1","text":"x","likes":' + b"9" * 5000 + b',"reposts":' + b"9" * 300 + b"}"
    post = decode(Record(Origin("t", 0, 0), NOW_MS, value))
    assert (post.text, post.likes, post.reposts) == ("x", 0, 2**53)
    assert post.ignored == ("likes",)


def test_brackets_in_a_text_are_no_containers() -> None:
    assert len(decoded(text="[" * 50_000).text) == 50_000


def test_alerts_show_posts_of_older_releases_clean() -> None:
    body = {"@timestamp": "2026-01-01T00:00:00+00:00", "ingested_at": "2026-01-01T00:00:00+00:00", "text": HOSTILE}
    old = PostDocument.from_json("1", {**body, "source": HOSTILE, "url": HOSTILE, "author": HOSTILE})
    shown, profile = _evidence_post(RepostedPost(old, 0), "", ()), source_profile([old.post])
    for text in (shown.source, shown.url, profile.top_source, profile.top_author):
        assert text.isprintable()
    assert shown.text.replace("\n", "").isprintable()


def test_long_fields_are_cut_where_that_leaves_their_meaning() -> None:
    post = decoded(id="i" * 900_000)
    assert (len(post.native_id), post.id) == (MAX_ID, document_id("weibo", "i" * 900_000))
    assert len(decoded(author="a" * 900_000).author) == MAX_NAME
    assert decoded(url="u" * (MAX_URL + 1)).ignored == ("url",)
    assert decoded(lang="l" * (MAX_LANG + 1)).ignored == ("lang",)
    assert len(decoded(source="s" * MAX_NAME).source) == MAX_NAME
    flat = decoded(**{"n" * 300_000: {f"{i}": "v" * 30_000 for i in range(10)}}).extra
    assert {(len(name), len(value)) for name, value in flat.items()} == {(200, 1000)}


def _chain(text: str) -> None:
    cleaned = clean(text)
    content_hash(cleaned)
    NOVA.find(cleaned)


NOVA = SubjectMatcher({"Nova": ["nova", "诺瓦"]}, {"Nova": ["nova scotia"]}, fold_chinese=True)
_SIZE = 20_000
TEXT_KINDS: dict[str, Callable[[int], str]] = {
    "marks out of order": lambda n: "a" + "\u0301" * (n // 2) + "\u0316" * (n // 2),
    "marks that NFKC makes": lambda n: ("\uff9e" + "\u0316" * 29) * (n // 30),
    "ligatures": lambda n: "\ufdfa" * n,
    "few ligatures": lambda n: "\ufdfa" * 999 + "\u3231" * (n - 999),
    "handles": lambda n: "@a" * (n // 2),
    "long handles": lambda n: ("@" + "诺" * 19) * (n // 20),
    "repost markers": lambda n: "//@" * (n // 3),
    "rt and spaces": lambda n: "rt" + " " * n,
    "urls": lambda n: "http://x(" * (n // 9),
    "www": lambda n: "www." * (n // 4),
    "entities": lambda n: "&#" + "9" * n,
    "many entities": lambda n: "&amp;" * (n // 5),
    "hashtags": lambda n: "#aB" * (n // 3),
    "one hashtag": lambda n: "#" + "aB" * (n // 2),
    "joiners": lambda n: "😀\u200d" * (n // 2),
    "invisible": lambda n: "a\u200b" * (n // 2),
    "selectors": lambda n: "a\ufe0f" * (n // 2),
    "one word": lambda n: "x" * n,
    "keywords": lambda n: "nova " * (n // 5),
    "exceptions": lambda n: "nova scotia " * (n // 12),
    "braces": lambda n: "{[" * (n // 2),
    "colours": lambda n: "\x1b[31m" * (n // 5),
    "colours that do not end": lambda n: "\x1b[" + "0" * n,
    "titles that do not end": lambda n: "\x1b]0;" * (n // 4),
    "one title that does not end": lambda n: "\x1b]" + "x" * n,
    "parameters": lambda n: "\x9b0" * (n // 2),
}
VALUE_KINDS: dict[str, Callable[[int], bytes]] = {
    "empty objects": lambda n: json.dumps({**GOOD, "extra": {f"{i:x}": {} for i in range(n // 10)}}).encode(),
    "wide array": lambda n: json.dumps({**GOOD, "q": [1] * (n // 3)}).encode(),
    "arrays in an array": lambda n: json.dumps({**GOOD, "q": [[]] * (n // 4)}).encode(),
    "brackets in a text": lambda n: json.dumps({**GOOD, "text": "[" * (n // 4)}).encode(),
    "a string that does not end": lambda n: b'{"a":"[[' + b'\\"[' * (n // 3),
    "deep": lambda n: b'{"a":' * (n // 5) + b"1" + b"}" * (n // 5),
    "long names": lambda n: json.dumps({**GOOD, "n" * (n // 2): {str(i): 1 for i in range(n // 20)}}).encode(),
    "long number": lambda n: b'{"source":"s","id":"1","text":"x","likes":' + b"1" * n + b"}",
    "long fraction": lambda n: b'{"source":"s","id":"1","text":"x","likes":0.' + b"1" * n + b"}",
    "escapes": lambda n: b'{"source":"s","id":"1","text":"' + b"\\u0041" * (n // 6) + b'"}',
    "surrogates": lambda n: b'{"source":"s","id":"1","text":"x","q":"' + b"\\ud800" * (n // 6) + b'"}',
}


def best(run: Callable[[], object], tries: int = 4) -> float:
    found = []
    for _ in range(tries):
        began = time.thread_time()
        run()
        found.append(time.thread_time() - began)
    return min(found)


def _tried(value: bytes) -> None:
    try:
        decode(Record(Origin("t", 0, 0), NOW_MS, value))
    except Poison:
        pass


def _grows_with_its_input(run: Callable[[int], Callable[[], object]], size: int) -> None:
    once, twice = best(run(size)), best(run(2 * size))
    # A growth is told from noise where there is something to measure.
    assert twice < 2.6 * once + 0.004
    assert twice < 0.0015 * 2 * size / 1024 + 0.02, "seconds per KB"


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_work_on_a_text_grows_at_most_as_the_text(kind: str) -> None:
    _grows_with_its_input(lambda n: partial(_chain, TEXT_KINDS[kind](n)), _SIZE)


@pytest.mark.parametrize("kind", VALUE_KINDS)
def test_work_on_a_value_grows_at_most_as_the_value(kind: str) -> None:
    _grows_with_its_input(lambda n: partial(_tried, VALUE_KINDS[kind](n)), 200_000)


@settings(max_examples=40)
@given(TEXTS.filter(bool))
def test_any_text_repeated_takes_as_much_longer_as_it_is(text: str) -> None:
    repeated = (text * (8000 // len(text) + 1))[:8000]
    assert best(lambda: _chain(repeated)) < 0.0015 * len(repeated.encode()) / 1024 + 0.02


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_the_interpreter_is_never_held_for_long(kind: str) -> None:
    """Each of these is one call that does not yield: the longest text that is taken, to each of them."""
    text = clean(TEXT_KINDS[kind](100_000))
    for call in (clean, compatible, content_hash):
        assert best(partial(call, text), 3) < 0.3, call.__name__
