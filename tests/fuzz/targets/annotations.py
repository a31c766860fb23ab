"""A file of annotations as a tool or a person may write it: each record is read or named, and no reader of it fails."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from models.files.annotation_files import LabelFileError, heads_of, read_label_file
from pipeline.domain.times import read_time
from tests.fuzz.texts import TEXTS

_CHOICE = {"from_name": "sentiment", "to_name": "text", "type": "choices", "value": {"choices": ["negative"]}}
_RECORDS: list[dict[str, Any]] = [
    {"id": 1, "data": {"text": "x"}, "annotations": [{"completed_by": {"id": 1}, "created_at": "2026",
    "result": [_CHOICE]}]},
    {"id": "r", "fields": {"text": "x"}, "metadata": {}, "responses": {"sentiment": [{"value": "negative",
    "user_id": 1}]}},
    {"fields": {"a": "x"}, "responses": [{"user_id": "u", "status": "submitted",
    "values": {"sentiment": {"value": "y"}}}]},
    {"text": "x", "annotation": "negative", "annotation_agent": "a", "status": "Validated", "inputs": None},
    {"text": "x", "label": ["negative"], "answer": "accept",
    "_input_hash": 1, "accept": ["negative"], "_timestamp": 1.5},
    {"text": "x",
    "sentiment.responses": ["y"], "sentiment.responses.users": ["u"], "sentiment.responses.status": ["submitted"]},
    {"text": "x", "labels": {"topic": "a", "sentiment": "negative"}, "suggested": {"topic": "b"}, "at": "2026-11-20"},
    {"data": "x", "label": "negative", "id": 5}, {"text": "x", "mood": '{"choices": ["a"]}', "created_at": 5},
]  # fmt: skip
_CSV = [
    "text,label",
    "id;text;sentiment;annotator",
    "text\tmood",
    "data,label",
    'text,"mood',
    "内容,标签",
    "text,text,label",
]
_CLASSES = {"topic": ["sports", "Sports", "other"], "sentiment": ["negative", "neutral", "positive"]}
_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=5,
)


def _places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _places(inner, (*at, key))


@st.composite
def _records(draw: st.DrawFn) -> list[Any]:
    records = copy.deepcopy(draw(st.lists(st.sampled_from(_RECORDS), min_size=1, max_size=3)))
    for _ in range(draw(st.integers(0, 3))):
        *path, last = draw(st.sampled_from([place for place in _places(records) if place]))
        inner: Any = records
        for key in path:
            inner = inner[key]
        inner[last] = draw(_JSON)
    return records


_TABLES = st.builds(
    lambda head, rows: head + "\n" + "\n".join(rows),
    st.sampled_from(_CSV),
    st.lists(
        st.lists(st.one_of(TEXTS, st.sampled_from(['"', '""', "negative", ",", ";"])), max_size=5).map(",".join),
        max_size=5,
    ),
)
INPUTS = st.one_of(
    st.builds(
        lambda text, encoding: text.encode(encoding, "replace"),
        st.one_of(
            _records().map(json.dumps), _records().map(lambda rows: "\n".join(map(json.dumps, rows))), _TABLES, TEXTS
        ),
        st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "gb18030"]),
    ),
    st.binary(max_size=200),
)  # fmt: skip


@cache
def _file() -> Path:
    return Path(tempfile.mkdtemp(prefix="opinionwatch-fuzz-")) / "labels.json"


def run(data: bytes) -> None:
    _file().write_bytes(data)
    for classes in (None, _CLASSES):
        try:
            found = read_label_file(_file(), "sentiment", classes)
        except LabelFileError:
            continue
        assert all(label and isinstance(label, str) for labels in heads_of(found.rows).values() for label in labels)
        for row in found.rows:
            assert row.full_text
            assert row.instant == row.instant  # noqa: PLR0124
            read_time(row.at)
