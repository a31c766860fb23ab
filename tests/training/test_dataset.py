"""What labelled files hold, what is left out and why, and the errors that come before any training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.training.extra import refusing
from pipeline.domain.errors import EXIT_USAGE, Fatal
from tests.training.conftest import toy_rows, write_jsonl
from training.config import TrainingConfigError
from training.data.dataset import part_of, read_dataset
from training.data.examples import read_rows


def test_parts_are_fixed_by_content(tmp_path: Path) -> None:
    few = read_dataset([write_jsonl(tmp_path / "a.jsonl", toy_rows(300))], head="sentiment")
    more = read_dataset([write_jsonl(tmp_path / "b.jsonl", toy_rows(300) + toy_rows(300, seed=5))], head="sentiment")
    assert {e.text for e in few.test} <= {e.text for e in more.test}
    assert not {e.text for e in more.test} & {e.text for e in more.train}
    assert 0.7 < len(more.train) / more.report.used < 0.9
    assert part_of("Hello there") == part_of("RT @x: hello THERE https://t.example/1")


def test_duplicates_merge_conflicts_go_and_the_majority_counts(tmp_path: Path) -> None:
    rows = toy_rows(100)
    long = "a long text about the hotel that was fine, with a friendly desk and a bath of marble, number "
    rows += [{"text": "same text", "label": "positive"}, {"text": "SAME  text", "label": "negative"}]
    rows += [
        {"text": "voted", "label": x, "annotator": str(i)} for i, x in enumerate(["positive", "positive", "negative"])
    ]
    rows += [{"text": f"{long}{i}", "label": "positive"} for i in (1, 2)]
    found = read_dataset([write_jsonl(tmp_path / "a.jsonl", rows)], head="sentiment")
    assert found.report.conflicting == ["a.jsonl:101, a.jsonl:102"]
    assert found.report.exact_duplicates == 3
    assert found.report.near_duplicates == 1
    kept = {e.text: e.targets for e in [*found.train, *found.validation, *found.test]}
    assert kept["voted"] == {"sentiment": (found.heads["sentiment"].index("positive"),)}


def test_a_source_cannot_fill_the_data(tmp_path: Path) -> None:
    rows = [{**r, "source": "loud" if i < 900 else "quiet"} for i, r in enumerate(toy_rows(1000))]
    found = read_dataset([write_jsonl(tmp_path / "a.jsonl", rows)], head="sentiment", source_cap=0.5)
    assert found.report.capped["loud"] == pytest.approx(400, abs=30)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (toy_rows(3), "3 usable rows, training needs at least 20"),
        ([r for r in toy_rows(100) if r["label"] == "positive"], "one class only, 'positive'"),
        ([*toy_rows(100), {"text": "x", "label": "odd"}], "'odd' has one row only"),
        ([{"text": "", "label": "a"}] * 30, "0 usable rows.*a.jsonl:1: field 'text' is missing or empty"),
    ],
)
def test_what_cannot_be_trained_on_is_said_before_training(
    tmp_path: Path, rows: list[dict[str, str]], message: str
) -> None:
    with pytest.raises(TrainingConfigError, match=message):
        read_dataset([write_jsonl(tmp_path / "a.jsonl", rows)], head="sentiment")


def test_what_the_base_knows_may_be_rare_in_the_rows(tmp_path: Path) -> None:
    """Rehearsal rows of a small index: one post of a topic, and one emotion in all of them."""
    rows = [
        {
            "text": r["text"],
            "labels": {"sentiment": r["label"], "topic": "games" if i == 7 else "autos", "emotion": "sad"},
        }
        for i, r in enumerate(toy_rows(60))
    ]
    scheme = {
        "topic": ["autos", "games", "realty"],
        "sentiment": ["negative", "neutral", "positive"],
        "emotion": ["sad", "happy"],
    }
    file = write_jsonl(tmp_path / "a.jsonl", rows)
    assert read_dataset([file], base_heads=scheme).heads == scheme
    with pytest.raises(TrainingConfigError, match="'emotion' has one class only, 'sad'"):
        read_dataset([file])
    one = write_jsonl(tmp_path / "one.jsonl", [{"text": r["text"], "labels": {"topic": "autos"}} for r in toy_rows(60)])
    with pytest.raises(TrainingConfigError, match="one class only, 'autos'"):
        read_dataset([one], base_heads=scheme)


def test_a_label_outside_the_scheme_is_left_out_and_named(tmp_path: Path) -> None:
    rows = [*toy_rows(100), {"text": "x", "label": "furious"}]
    scheme = {"sentiment": ["negative", "positive"], "topic": ["a", "b"]}
    found = read_dataset([write_jsonl(tmp_path / "a.jsonl", rows)], heads=scheme, head="sentiment")
    assert found.heads == scheme
    assert found.report.problems == ["a.jsonl:101: sentiment=furious is not in the label scheme"]


def test_a_spreadsheet_with_columns_of_a_tool_is_a_data_set(tmp_path: Path) -> None:
    lines = ["id;内容;Sentiment;created_at;reviewer remark"]
    lines += [
        f"{n};{r['text']};{str(r['label']).title()};2026-11-20;remark {n}" for n, r in enumerate(toy_rows(100, seed=3))
    ]
    file = tmp_path / "a.csv"
    file.write_bytes("\r\n".join(lines).encode("utf-16"))
    base = {"sentiment": ["negative", "neutral", "positive"]}
    choices: tuple[dict[str, Any], ...] = ({"heads": base}, {"base_heads": base})
    for heads in choices:
        found = read_dataset([file], **heads)
        assert found.heads == base
        assert found.report.unknown_columns == ["reviewer remark"]
        assert not found.report.problems
    assert list(read_dataset([file]).heads) == ["Sentiment"], "a file of its own is spelt as it is"


def test_the_newest_annotation_counts_whatever_its_zone_or_place(tmp_path: Path) -> None:
    rows = [
        {"text": "turned", "label": "positive", "annotator": "a", "at": "2026-11-20T01:00:00Z"},
        {"text": "turned", "label": "negative", "annotator": "a", "at": "2026-11-20T08:00:00+08:00"},
    ]
    found = read_dataset([write_jsonl(tmp_path / "a.jsonl", toy_rows(100) + rows)], head="sentiment")
    kept = {e.text: e.targets for e in [*found.train, *found.validation, *found.test]}
    assert kept["turned"] == {"sentiment": (found.heads["sentiment"].index("positive"),)}


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", b'{"text": "x"}\noops', "a.jsonl:2: not JSON"),
        ("a.jsonl", b'{"text": "x"}\n{"text": 3}', "a.jsonl:2: needs an object"),
        ("a.jsonl.gz", b"\x1f\x8bjunk", "gzip compression is corrupt"),
        ("a.csv", b'text,label\n"x,y', "a.csv:2: this line opens a quote"),
    ],
)
def test_a_row_of_a_recipe_that_cannot_be_read_is_named(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(TrainingConfigError, match=message):
        list(read_rows(tmp_path / name))


def test_rows_of_a_recipe_may_stand_in_a_csv(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("content,label\n很好,p\n".encode("utf-8-sig"))
    assert [row["text"] for row in read_rows(tmp_path / "a.csv")] == ["很好"]


def test_a_file_that_cannot_be_used_is_a_matter_of_usage(tmp_path: Path) -> None:
    for data in (b"", b"PK\x03\x04", b'text,label\n"x,y', b"text,label\nx,a\n"):
        (tmp_path / "a.csv").write_bytes(data)
        with pytest.raises(Fatal) as caught:
            refusing(lambda: read_dataset([tmp_path / "a.csv"]))
        assert caught.value.exit_code == EXIT_USAGE
