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

from models.files.annotation_files import LabelFileError, LabelledText, heads_of, read_label_file, read_labelled


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
        ('{"data": {"text": "x"}, "annotations": [{"result": [{"type": "choices"}]}]}', "'from_name' must name a head"),
        ('{"data": {"text": "x"}, "annotations": [{"result": "bad"}]}', "'result' must be an array of objects"),
        ('{"fields": {"text": "x"}, "responses": {"mood": [{"user_id": 1}]}}', "an annotation without a label"),
        ('{"fields": {"text": "x"}, "responses": 3}', "'responses' is a int but must be an object"),
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


def test_another_encoding_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "x", "label": "y"}\n' + '{"text": "糟糕", "label": "y"}'.encode("gb18030"))
    assert [row.text for row in read_labelled(path)[0]] == ["x", "糟糕"]


def test_what_is_no_text_is_named_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"PK\x03\x04 a workbook")
    with pytest.raises(LabelFileError, match=r"a.csv: is an Excel workbook .* CSV"):
        read_labelled(path)


CLASSES = {"topic": ["sports", "other"], "sentiment": ["negative", "neutral", "positive"]}
LS_MIN = [
    {"text": "bad", "id": 11, "sentiment": "negative", "annotator": 3, "annotation_id": 101, "lead_time": 4.2,
     "created_at": "2026-11-20T08:00:00.000000Z", "updated_at": "2026-11-20T08:00:05.000000Z"},
]  # fmt: skip


def studio(label: str, field: str = "text", name: str = "sentiment", **annotation: Any) -> list[dict[str, Any]]:
    result = [{"from_name": name, "to_name": "text", "type": "choices", "value": {"choices": [label]}}]
    return [{"id": 1, "data": {field: "bad"}, "annotations": [{"result": result, "completed_by": 1, **annotation}]}]


@pytest.mark.parametrize("classes", [None, CLASSES])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ls-min.json", LS_MIN),
        ("ls.csv", "annotation_id,annotator,created_at,id,lead_time,sentiment,text,updated_at\n"
                   "101,3,2026-11-20T08:00:00Z,11,4.2,negative,bad,2026-11-20T08:00:05Z\n"),
        ("ls-choices.csv", 'id,sentiment,text\n1,"{""choices"": [""negative""]}",bad\n'),
        ("ls-field.json", studio("negative", "review")),
        ("ls-nameless.json", studio("negative", name="label")),
        ("ls-old.json", [{"id": 1, "data": {"text": "bad"}, "completions": studio("negative")[0]["annotations"]}]),
        ("doccano.csv", "id,data,label\n1,bad,negative\n"),
        ("doccano.jsonl", [{"id": 1, "data": "bad", "label": ["negative"], "Comments": []}]),
        ("doccano-semicolon.csv", "\ufeffid;text;label\n1;bad;negative\n"),
        ("argilla.json", [{"id": "r", "fields": {"review": "bad"}, "metadata": {}, "suggestions": {},
                           "responses": {"sentiment": [{"value": "negative", "user_id": "u",
                           "status": "submitted"}]}}]),
        ("argilla-flat.jsonl", [{"id": "r", "text": "bad", "status": "completed", "sentiment.responses": ["negative"],
                                 "sentiment.responses.users": ["u"], "sentiment.responses.status": ["submitted"],
                                 "sentiment.suggestion": None}]),
        ("prodigy.jsonl", [{"text": "bad", "label": "negative", "answer": "accept",
        "_input_hash": 1, "_timestamp": 17}]),
        ("prodigy-choice.jsonl", [{"text": "bad", "accept": ["negative"], "answer": "accept", "_task_hash": 2,
                                   "options": [{"id": "negative", "text": "Negative"}]}]),
        ("caps.csv", "Text,Label\nbad,negative\n"),
        ("chinese.csv", "内容,标签\nbad,negative\n"),
        ("page.json", {"data": [{"text": "bad", "label": "negative"}], "meta": {}}),
    ],
)  # fmt: skip
def test_the_exports_of_tools(tmp_path: Path, name: str, value: Any, classes: dict[str, list[str]] | None) -> None:
    found = read_label_file(write(tmp_path, name, value), "sentiment", classes)
    assert found.problems == []
    assert [(row.text, row.labels) for row in found.rows] == [("bad", {"sentiment": "negative"})]


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("ls.json", studio("negative", was_cancelled=True), "skipped or cancelled"),
        ("ls.csv", "text,label,was_cancelled\nbad,negative,True\n", "was_cancelled is set"),
        ("prodigy.jsonl", [{"text": "bad", "label": "negative", "answer": "reject"}], "answer is 'reject'"),
        ("prodigy.jsonl", [{"text": "bad", "label": "negative", "answer": "ignore"}], "answer is 'ignore'"),
        ("argilla.json", [{"fields": {"text": "bad"}, "responses": {"sentiment": [
            {"value": "negative", "user_id": "u", "status": "discarded"}]}}], "was discarded"),
        ("argilla.json", [{"fields": {"text": "bad"}, "responses": {"sentiment": [
            {"value": "negative", "user_id": "u", "status": "draft"}]}}], "draft"),
        ("argilla.json", [{"fields": {"text": "bad"}, "responses": [{"status": "discarded",
        "values": None}]}], "discarded"),
        ("argilla1.jsonl", [{"text": "bad", "annotation": "negative", "status": "Discarded"}], "status is 'Discarded'"),
        ("plain.csv", "text,label,skipped\nbad,negative,1\n", "skipped is set"),
    ],
)  # fmt: skip
def test_an_annotation_that_says_no_is_no_label(tmp_path: Path, name: str, value: Any, why: str) -> None:
    found = read_label_file(write(tmp_path, name, value), "sentiment", CLASSES)
    assert found.rows == []
    assert why in found.problems[0].reason


def test_case_is_folded_to_the_scheme_or_to_the_most_frequent(tmp_path: Path) -> None:
    rows = read_label_file(write(tmp_path, "a.json", studio("Negative", name="Sentiment")), "label", CLASSES).rows
    assert rows[0].labels == {"sentiment": "negative"}
    lines = [{"text": f"t{n}", "label": x} for n, x in enumerate(["bad", "Bad", "BAD ", "bad", "good"])]
    rows = read_label_file(write(tmp_path, "a.jsonl", lines)).rows
    assert [r.labels["label"] for r in rows] == ["bad", "bad", "bad", "bad", "good"]
    both = {"label": ["bad", "BAD"]}
    rows = read_label_file(write(tmp_path, "a.jsonl", [{"text": "x", "label": "Bad"}, *lines[:1]]), "label", both).rows
    assert [r.labels["label"] for r in rows] == ["Bad", "bad"], "Bad may be either"


def test_a_column_that_is_no_head_costs_nothing_and_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, "a.csv", "text,sentiment,reviewer remark\nx,negative,see ticket 5\ny,positive,\n")
    found = read_label_file(file, "label", CLASSES)
    assert [r.labels for r in found.rows] == [{"sentiment": "negative"}, {"sentiment": "positive"}]
    assert (found.problems, found.unknown) == ([], ["reviewer remark"])
    lines = "".join(f"t{n},{'bad' if n % 2 else 'good'},remark {n},2026-11-{n:02}T10:00\n" for n in range(1, 20))
    found = read_label_file(write(tmp_path, "b.csv", f"text,mood,reviewer remark,seen\n{lines}"))
    assert heads_of(found.rows) == {"mood": ["bad", "good"]}
    assert found.unknown == ["reviewer remark", "seen"]


def test_a_text_in_a_field_of_its_own_name(tmp_path: Path) -> None:
    task = studio("negative")
    task[0]["data"] = {"question": "how?", "reply": "bad"}
    found = read_label_file(write(tmp_path, "a.json", task), "label", CLASSES)
    assert "name it with --text-field: question, reply" in found.problems[0].reason
    found = read_label_file(write(tmp_path, "a.json", task), "label", CLASSES, text_field="reply")
    assert found.rows[0].text == "bad"


def test_the_time_of_an_annotation_is_its_last_change(tmp_path: Path) -> None:
    task = studio("negative", created_at="2026-11-20T08:00:00Z", updated_at="2026-11-21T08:00:00+00:00")
    assert read_label_file(write(tmp_path, "a.json", task)).rows[0].at == "2026-11-21T08:00:00+00:00"
    early, late, none = (
        LabelledText("x", {}, "", at=at) for at in ("2026-11-20T23:00:00+08:00", "2026-11-20T16:00Z", "?")
    )
    assert none.instant < early.instant < late.instant


def test_a_head_may_have_the_name_of_a_column_that_tools_have(tmp_path: Path) -> None:
    file = write(tmp_path, "a.csv", "text,status\nx,open\n")
    assert read_label_file(file, "label", {"status": ["open", "closed"]}).rows[0].labels == {"status": "open"}
    assert read_label_file(file, "status").rows[0].labels == {"status": "open"}
    assert read_label_file(file, "label").rows == []


def test_a_column_of_eight_rows_that_all_differ_holds_no_classes(tmp_path: Path) -> None:
    def heads(rows: int) -> list[str]:
        lines = "".join(f"t{n},{'good' if n % 2 else 'bad'},word {chr(97 + n)}\n" for n in range(rows))
        return list(heads_of(read_labelled(write(tmp_path, "a.csv", f"text,mood,impression\n{lines}"))[0]))

    assert heads(7) == ["mood", "impression"]
    assert heads(8) == ["mood"]


def test_the_first_user_of_a_flat_row_is_its_annotator(tmp_path: Path) -> None:
    row = {"text": "bad", "mood.responses": ["low"], "mood.responses.users": ["ann", "bob"],
           "mood.responses.status": ["submitted"]}  # fmt: skip
    assert read_labelled(write(tmp_path, "a.jsonl", [row]))[0][0].annotator == "ann"
    assert read_labelled(write(tmp_path, "a.jsonl", [row | {"mood.responses.users": []}]))[0][0].annotator == ""
