"""A CSV, JSONL or JSON file of posts, to the records that `ingest` makes of it: no row is lost without a word."""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path

from hypothesis import strategies as st

from pipeline.classify.codec import decode
from pipeline.domain.errors import Fatal, Poison
from pipeline.domain.post import Origin, Record
from pipeline.ingest.columns import Rules
from pipeline.ingest.file_format import FileFormat
from pipeline.ingest.post_files import posts_of
from tests.fuzz.texts import TEXTS

_PIECES = [
    '"', '""', '"""', ",", ";", "\t", "|", "\n", "\r\n", "\r", "\x00", "a", "4.9E+15", "1e999", "NaN", "null",
    "1,204", "②",
    "2026/11/23 21:05", "46349.5", "{", "}", "[", "]", ":", "\\", '\\ud800', '{"text":"x","id":1,"source":"s"}', "{}",
    "[[[[",
    '{"data":[{"text":"x"}]}', '{"user":{"name":["a"]}}', '"text"', '"id"', "sep=;", "-", "1" * 400, "\ufeff", "\ud7ff",
]  # fmt: skip
_HEADS = [
    "source,id,text,published_at,likes\n", "来源;编号;内容;时间\n", "text\tdate\ttime\n",
    "id,id,,text\n", '"text\n', "", "[", "{",
    '{"data":[', '{\n"items": [\n', '[{"source":"s","id":1,"text":"x"},', "sep=;\ntext;id\n",
]  # fmt: skip
_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=5,
)
_NAMES = st.sampled_from(
    ["v", "id", "id_str", "source", "kind", "url", "title", "text", "content", "author", "user", "user.name", "date",
    "time",
     "created_at", "likes", "public_metrics", "extra", "内容", "点赞数", "more"]
)  # fmt: skip
_POSTS = st.dictionaries(_NAMES, _VALUES, max_size=7)
_BODIES = st.one_of(
    st.lists(st.one_of(st.sampled_from(_PIECES), TEXTS), max_size=40).map("".join),
    st.builds(lambda pieces, times: "".join(pieces) * times, st.lists(st.sampled_from(_PIECES), min_size=1, max_size=4),
              st.sampled_from([1, 30, 3000])),
    st.lists(_POSTS, max_size=4).map(lambda posts: "\n".join(map(json.dumps, posts))),
    st.lists(_POSTS, max_size=4).map(json.dumps),
)  # fmt: skip
INPUTS = st.one_of(
    st.builds(
        lambda head, body, encoding: (head + body).encode(encoding, "replace"),
        st.sampled_from(_HEADS), _BODIES, st.sampled_from(["utf-8", "utf-8-sig", "gb18030", "utf-16", "latin-1",
        "shift_jis"]),
    ),
    st.binary(max_size=300),
)  # fmt: skip


@cache
def _file() -> Path:
    return Path(tempfile.mkdtemp(prefix="opinionwatch-fuzz-")) / "posts"


def run(data: bytes) -> None:
    _file().write_bytes(data)
    format_ = (None, FileFormat.csv, FileFormat.json)[len(data) % 3]
    try:
        with posts_of(_file(), Rules(source="s"), format_) as (_, entries):
            found = list(entries)
    except Fatal as error:
        assert error.exit_code == 2, error
        return
    for entry in found:
        assert bool(entry.value) != bool(entry.reason)
        if entry.value:
            try:
                decode(Record(Origin("posts", 0, entry.line), 1_800_000_000_000, entry.value))
            except Poison:
                continue
