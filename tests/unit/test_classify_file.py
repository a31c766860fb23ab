"""`opinionwatch classify FILE`: targets of rows, and watched subjects in rows."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from models.files.targets import TargetError
from models.json_types import JsonObject
from pipeline.classify.subjects import SubjectMatcher
from pipeline.cli.classify.questions import TARGET, Question, QuestionReader
from pipeline.cli.main import app
from pipeline.domain.errors import EXIT_USAGE, Fatal
from tests.toy_bundle import toy_bundle

TEXT = "Nova is terrible, but honestly I think that Kestrel is great"
PLAIN = QuestionReader(None, None)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_bundle(tmp_path_factory.mktemp("toy"))


def classify(bundle: Path, file: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["classify", str(file), "--model", str(bundle), *options])


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def test_a_target_is_a_range_of_the_text_and_not_of_the_title() -> None:
    row: JsonObject = {"title": "News", "text": TEXT, "target": "Kestrel", "from": 44, "to": "51"}
    assert PLAIN.read(row) == Question(f"News\n{TEXT}", {TARGET: [(49, 56)]})
    assert PLAIN.read({"text": TEXT, "from": 0, "to": 4}) == Question(TEXT, {TARGET: [(0, 4)]})
    assert PLAIN.read({"text": TEXT, "target": "kestrel"}) == Question(TEXT, {TARGET: [(44, 51)]})


def test_columns_that_only_have_the_names_of_a_target_are_none() -> None:
    rows: list[JsonObject] = [
        {"from": "ann@example.org", "to": "bob@example.org"},
        {"target": 4},
        {"target": "4"},
        {"target": "Wren"},
        {"from": 3},
        {"from": "10086", "to": "me"},
        {"target": None, "from": None, "to": None},
    ]
    for row in rows:
        assert PLAIN.read({"text": TEXT, **row}) == Question(TEXT, {})


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"target": "Nova", "from": 0, "to": 99}, "'from' and 'to'"),
        ({"target": "Nova", "from": 4, "to": 4}, "'from' and 'to'"),
        ({"target": "Nova", "from": -4, "to": 4}, "'from' and 'to'"),
        ({"target": "Nova", "from": 1, "to": 5}, "'target'"),
        ({"target": "Nova", "from": "x", "to": 5}, "'from'"),
        ({"target": "Nova", "from": 0, "to": 4.5}, "'to'"),
        ({"target": "Nova", "from": 0}, "'to'"),
        ({"from": 9, "to": 3}, "'from' and 'to'"),
        ({"from": 9, "to": None}, "'to' is missing"),
        ({"from": "", "to": "9"}, "'from' is missing"),
        ({"from": float("nan"), "to": 4}, "'from'"),
        ({"target": "Nova", "from": "0_0", "to": 4}, "'from'"),
    ],
)
def test_a_target_that_is_not_in_the_text_is_an_error_with_its_field(row: dict[str, Any], field: str) -> None:
    with pytest.raises(TargetError, match=field):
        PLAIN.read({"text": TEXT, **row})


def test_rows_get_the_sentiment_toward_their_target(bundle: Path, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"text": TEXT, "target": "Nova", "from": 0, "to": 4},
        {"text": TEXT, "target": "Kestrel", "from": 44, "to": 51},
        {"text": TEXT},
    ]
    done = classify(bundle, jsonl(tmp_path / "rows.jsonl", rows), "--out", str(tmp_path / "out.jsonl"))
    assert done.exit_code == 0, done.output
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert [row.get("toward") for row in found] == ["negative", "positive", None]
    assert 0.5 < found[0]["toward_score"] <= 1
    assert found[0]["toward_whole_text"] is False
    assert {row["sentiment"] for row in found} == {found[0]["sentiment"]}


def test_a_table_gets_the_columns_of_a_target(bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(f'text,target,from,to\n"{TEXT}",Nova,0,4\n"{TEXT}",,,\n', "utf-8")
    assert classify(bundle, file, "--out", str(tmp_path / "out.csv")).exit_code == 0
    with (tmp_path / "out.csv").open(encoding="utf-8") as made:
        first, second = csv.DictReader(made)
    assert (first["toward"], first["toward_whole_text"]) == ("negative", "False")
    assert (second["toward"], second["toward_score"]) == ("", "")


def test_a_wrong_row_is_named_and_the_others_are_labelled(
    bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"text": TEXT, "target": "Nova", "from": 0, "to": 4},
        {"text": TEXT, "target": "Nova", "from": 50, "to": 99},
    ]
    file = jsonl(tmp_path / "rows.jsonl", rows)
    done = classify(bundle, file, "--out", str(tmp_path / "out.jsonl"))
    assert isinstance(done.exception, Fatal)
    assert done.exception.exit_code == EXIT_USAGE
    reported = " ".join(capfd.readouterr().err.split() + done.output.split())
    assert "rows.jsonl:2: fields 'from' and 'to': characters 50 to 99 are not inside the text" in reported
    first, second = map(json.loads, (tmp_path / "out.jsonl").read_text("utf-8").splitlines())
    assert first["toward"] == "negative"
    assert second == rows[1]


def test_watched_subjects_are_found_and_judged(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[dict[str, Any]] = [{"text": TEXT, "id": 7}, {"text": "innovation"}]
    file = jsonl(tmp_path / "rows.jsonl", rows)
    assert "name them in [subjects]" in str(classify(bundle, file, "--subjects").exception)
    (tmp_path / "opinionwatch.toml").write_text("[subjects]\nNova = ['nova']\nBird = ['kestrel']\n")
    monkeypatch.chdir(tmp_path)
    done = classify(bundle, file, "--subjects", "--out", str(tmp_path / "out.jsonl"))
    assert done.exit_code == 0, done.output
    first, second = map(json.loads, (tmp_path / "out.jsonl").read_text("utf-8").splitlines())
    assert first["subjects"] == ["Bird", "Nova"]
    assert [(t["subject"], t["label"], t["whole_text"]) for t in first["toward"]] == [
        ("Bird", "positive", False), ("Nova", "negative", False),
    ]  # fmt: skip
    assert (second["subjects"], second["toward"]) == ([], [])
    (tmp_path / "rows.csv").write_text(f'text\n"{TEXT}"\n', "utf-8")
    assert classify(bundle, tmp_path / "rows.csv", "--subjects", "--out", str(tmp_path / "out.csv")).exit_code == 0
    with (tmp_path / "out.csv").open(encoding="utf-8") as made:
        (row,) = csv.DictReader(made)
    assert json.loads(row["subjects"]) == ["Bird", "Nova"]
    assert json.loads(row["toward"])[1]["label"] == "negative"


def test_a_bundle_without_the_head_says_that_it_judged_the_whole_text(tmp_path: Path) -> None:
    plain = toy_bundle(tmp_path / "plain", toward=False)
    file = jsonl(tmp_path / "rows.jsonl", [{"text": "so bad, Nova", "target": "Nova", "from": 8, "to": 12}])
    assert classify(plain, file, "--out", str(tmp_path / "out.jsonl")).exit_code == 0
    row = json.loads((tmp_path / "out.jsonl").read_text("utf-8"))
    assert (row["toward"], row["toward_whole_text"]) == ("negative", True)
    assert row["toward_score"] == row["sentiment_score"]


def test_with_subjects_the_columns_of_a_target_are_not_read() -> None:
    reader = QuestionReader(None, SubjectMatcher({"Nova": ["nova"]}))
    assert reader.read({"text": TEXT, "from": 80, "to": 90}) == Question(TEXT, {"Nova": ((0, 4),)})


def test_a_table_whose_rows_only_name_their_target_gets_the_columns_as_well(bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(f'text,target\n"{TEXT}",Nova\n"{TEXT}",Kestrel\n', "utf-8")
    assert classify(bundle, file, "--out", str(tmp_path / "out.csv")).exit_code == 0
    with (tmp_path / "out.csv").open(encoding="utf-8") as made:
        assert [row["toward"] for row in csv.DictReader(made)] == ["negative", "positive"]
