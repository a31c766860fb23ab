"""`labels import`: what a person said last counts, whatever arrives last."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.cli.main import app
from pipeline.domain.errors import Fatal
from pipeline.store.sqlite.store import SqliteStore
from tests.builders import START, scored


@pytest.fixture
def labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setenv("OPINIONWATCH_STORE__URL", f"sqlite:///{tmp_path}/s.sqlite")
    monkeypatch.chdir(tmp_path)
    SqliteStore(tmp_path / "s.sqlite").setup()

    def run(name: str, content: Any, *options: str, code: int = 0) -> Any:
        text = content if isinstance(content, str) else "\n".join(map(json.dumps, content))
        Path(name).write_text(text, "utf-8")
        done = CliRunner().invoke(app, ["labels", "import", name, "--json", *options])
        exit_code = done.exception.exit_code if isinstance(done.exception, Fatal) else done.exit_code
        assert exit_code == code, (done.output, done.exception)
        return json.loads(done.stdout) if done.stdout else str(done.exception)

    return run


def stored(folder: Path) -> dict[tuple[str, str], str]:
    return {(x.annotator, x.text): x.label for x in SqliteStore(folder / "s.sqlite").annotations()}


def said(label: str, at: Any = None, **more: Any) -> dict[str, Any]:
    return {"text": "x", "sentiment": label, "annotator": "ann", **({"created_at": at} if at else {}), **more}


def test_an_older_annotation_that_arrives_later_does_not_win(labels: Any, tmp_path: Path) -> None:
    assert labels("a.jsonl", [said("negative", "2026-11-20T10:00:00+08:00")])["imported"] == 1
    report = labels("b.jsonl", [said("positive", "2026-11-20T01:00:00Z")])
    assert (report["imported"], report["older"]) == (0, 1)
    assert stored(tmp_path) == {("ann", "x"): "negative"}
    assert labels("c.jsonl", [said("neutral", 1795440300000)])["imported"] == 1, "a tool's epoch"
    assert stored(tmp_path) == {("ann", "x"): "neutral"}


def test_within_a_file_time_decides_and_not_the_order(labels: Any, tmp_path: Path) -> None:
    rows = [
        said("negative", "2026-11-21T10:00:00Z"),
        said("positive", "2026-11-20T10:00:00Z"),
        said("neutral", "some day"),
    ]
    report = labels("a.jsonl", rows)
    assert (report["imported"], report["older"]) == (1, 2)
    assert stored(tmp_path) == {("ann", "x"): "negative"}


def test_a_second_import_changes_nothing(labels: Any, tmp_path: Path) -> None:
    for _ in range(2):
        labels("a.jsonl", [said("negative", "2026-11-20T10:00:00Z")])
    assert stored(tmp_path) == {("ann", "x"): "negative"}


def test_an_annotation_from_the_future_is_as_new_as_its_import(labels: Any, tmp_path: Path) -> None:
    labels("a.jsonl", [said("negative", "2999-11-20T10:00:00Z")])
    labels("b.jsonl", [said("positive")])
    assert stored(tmp_path) == {("ann", "x"): "positive"}


def test_what_could_not_be_used_is_named_and_nothing_used_is_exit_2(labels: Any) -> None:
    report = labels("a.csv", "text,sentiment,second opinion\nx,Negative,see 5\ny,angry,\nz,positive,ok\n")
    assert (report["imported"], report["refused"], report["unknown_columns"]) == (2, 1, ["second opinion"])
    assert report["reasons"] == ["a.csv:3: label 'angry' is not a class of 'sentiment' (negative, neutral, positive)"]
    for content in ("", "text,sentiment\n", "text,sentiment\ny,angry\n", 'text,second opinion\ny,"ok"\n'):
        labels("a.csv", content, code=2)
    labels("a.jsonl", [said("negative", was_cancelled=True)], code=2)


def test_an_unclosed_quote_is_exit_2_with_its_line_and_the_rest_is_imported(labels: Any, tmp_path: Path) -> None:
    labels("a.csv", 'text,sentiment\nx,negative\n"y,positive\nz,neutral\n', code=2)
    assert sorted(stored(tmp_path).values()) == ["negative", "neutral"]


def test_the_text_may_stand_in_a_field_of_another_name(labels: Any, tmp_path: Path) -> None:
    labels("a.csv", "Frage;Antwort;sentiment\nq;a;negative\n", "--text-field", "antwort")
    assert [text for _, text in stored(tmp_path)] == ["a"]


def test_a_registry_that_does_not_answer_is_69(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPINIONWATCH_STORE__URL", f"sqlite:///{tmp_path}/s.sqlite")
    monkeypatch.setenv("OPINIONWATCH_MODEL__REGISTRY", "http://127.0.0.1:9/models")
    monkeypatch.chdir(tmp_path)
    store = SqliteStore(tmp_path / "s.sqlite")
    store.setup()
    store.index([scored(1)], START, 1)
    Path("a.jsonl").write_text(json.dumps(said("negative")))
    done = CliRunner().invoke(app, ["labels", "import", "a.jsonl"])
    assert isinstance(done.exception, Fatal), done.output
    assert done.exception.exit_code == 69, done.exception
    assert "127.0.0.1:9" in str(done.exception)
    queue = CliRunner().invoke(app, ["labels", "queue", "--json"])
    assert queue.exit_code == 0, "the posts are there without the challenger's opinion"
    assert "does not consult the challenger" in queue.stderr


def test_half_a_character_costs_its_row(labels: Any, tmp_path: Path) -> None:
    rows = [said("negative"), said("negative", text="a\ud83d"), said("neutral", text="y", source="\udc00")]
    report = labels("a.jsonl", rows)
    assert (report["imported"], report["refused"]) == (1, 2)
    assert "a.jsonl:2: contains half a character" in report["reasons"][0]
