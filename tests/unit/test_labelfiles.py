"""Every format that people label in, and what is wrong with a file, by its place."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.labelfiles import LabelFileError, heads_of, read_labelled


def write(folder: Path, name: str, value: Any) -> Path:
    path = folder / name
    if isinstance(value, list) and name.endswith(".jsonl"):
        value = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in value)
    path.write_text(value if isinstance(value, str) else json.dumps(value), "utf-8")
    return path


LABEL_STUDIO = [
    {
        "id": 7,
        "data": {"text": "糟糕", "source": "weibo"},
        "annotations": [
            {
                "completed_by": {"id": 1, "email": "ann@example.org"},
                "created_at": "2026-11-01T10:00:00Z",
                "result": [
                    {"from_name": "sentiment", "to_name": "text", "type": "choices", "value": {"choices": ["negative"]}}
                ],
            },
            {"was_cancelled": True, "result": []},
        ],
    }
]
ARGILLA = [
    {
        "id": "r1",
        "fields": {"text": "fine"},
        "metadata": {"lang": "en"},
        "responses": {
            "sentiment": [
                {"value": "positive", "user_id": "u1", "status": "submitted"},
                {"value": "neutral", "user_id": "u2", "status": "draft"},
            ]
        },
    }
]
#: As the records of Argilla's feedback datasets have it: by user.
ARGILLA_BY_USER = [
    {
        "fields": {"text": "fine"},
        "responses": [
            {"user_id": "u1", "status": "submitted", "values": {"sentiment": {"value": "positive"}}},
            {"user_id": "u2", "status": "discarded", "values": None},
        ],
    }
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("a.jsonl", [{"text": "x", "label": "bad"}], {"label": "bad"}),
        ("a.jsonl", [{"text": "x", "labels": {"topic": "sports", "sentiment": "neutral"}}],
         {"topic": "sports", "sentiment": "neutral"}),
        ("a.jsonl", [{"id": 1, "text": "x", "label": ["bad"]}], {"label": "bad"}),
        ("a.csv", "text,topic\nx,sports\n", {"topic": "sports"}),
        ("a.tsv", "text\tlabel\nx\t3\n", {"label": "3"}),
        ("a.json", LABEL_STUDIO, {"sentiment": "negative"}),
        ("a.json", ARGILLA, {"sentiment": "positive"}),
        ("a.json", ARGILLA_BY_USER, {"sentiment": "positive"}),
        ("a.jsonl", [{"text": "x", "annotation": "bad", "annotation_agent": "ann"}], {"label": "bad"}),
    ],
)  # fmt: skip
def test_each_format_gives_its_labels(tmp_path: Path, name: str, value: Any, expected: dict[str, str]) -> None:
    rows, problems = read_labelled(write(tmp_path, name, value))
    assert problems == []
    assert [row.labels for row in rows] == [expected]
    assert heads_of(rows) == {head: [label] for head, label in expected.items()}


def test_who_and_when_come_along(tmp_path: Path) -> None:
    row = read_labelled(write(tmp_path, "a.json", LABEL_STUDIO))[0][0]
    assert (row.annotator, row.at, row.source, row.id) == ("ann@example.org", "2026-11-01T10:00:00Z", "weibo", "7")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ("3", "not an object"),
        ('{"text": "", "label": "bad"}', "missing or empty"),
        ('{"text": "x"}', "no label"),
        ('{"text": "x", "label": ["a", "b"]}', "2 labels"),
        ('{"text": "x", "label": {"a": 1}}', "a dict"),
        ('{"data": {"text": "x"}, "annotations": [{"result": [{"type": "choices"}]}]}', "'from_name' needs the name"),
        ('{"data": {"text": "x"}, "annotations": [{"result": "bad"}]}', "'result' needs an array of objects"),
        ('{"fields": {"text": "x"}, "responses": {"mood": [{"user_id": 1}]}}', "an annotation without a label"),
        ('{"fields": {"text": "x"}, "responses": 3}', "'responses' is a int: it needs an object"),
        ('{"text": ' + "[" * 100_000, "not JSON"),
    ],
)
def test_a_bad_line_is_named_and_the_rest_is_read(tmp_path: Path, line: str, reason: str) -> None:
    rows, problems = read_labelled(write(tmp_path, "a.jsonl", f'{line}\n{{"text": "y", "label": "good"}}\n'))
    assert len(rows) == 1
    assert problems[0].place == "a.jsonl:1"
    assert reason in problems[0].reason


def _places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _places(inner, (*at, key))


@given(st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_record_holds_it_is_read_or_named(tmp_path: Path, data: st.DataObject) -> None:
    records = copy.deepcopy(data.draw(st.sampled_from([LABEL_STUDIO, ARGILLA, ARGILLA_BY_USER])))
    *path, last = data.draw(st.sampled_from([place for place in _places(records) if len(place) > 1]))
    inner: Any = records
    for key in path:
        inner = inner[key]
    inner[last] = data.draw(JSON)
    rows, problems = read_labelled(write(tmp_path, "a.json", records))
    assert rows or problems
    assert all(isinstance(v, str) and v for row in rows for v in row.labels.values())


def test_another_encoding_is_named_with_its_line_and_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "x", "label": "y"}\n' + '{"text": "糟糕"}'.encode("gb18030"))
    with pytest.raises(LabelFileError, match=r"a.jsonl:2: not UTF-8 .*iconv"):
        read_labelled(path)
