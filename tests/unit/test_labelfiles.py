"""Every format that people label in, and what is wrong with a file, by its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

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
    ],
)
def test_a_bad_line_is_named_and_the_rest_is_read(tmp_path: Path, line: str, reason: str) -> None:
    rows, problems = read_labelled(write(tmp_path, "a.jsonl", f'{line}\n{{"text": "y", "label": "good"}}\n'))
    assert len(rows) == 1
    assert problems[0].place == "a.jsonl:1"
    assert reason in problems[0].reason


def test_another_encoding_is_named_with_its_line_and_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "x", "label": "y"}\n' + '{"text": "糟糕"}'.encode("gb18030"))
    with pytest.raises(LabelFileError, match=r"a.jsonl:2: not UTF-8 .*iconv"):
        read_labelled(path)
