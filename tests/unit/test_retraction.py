"""`labels drop`: posts are as the model and the other people have them again, and the next labels count as new."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.annotation.retraining_rows import annotations_trained_on
from pipeline.cli.main import app
from pipeline.domain.counting import NegativeDefinition
from pipeline.domain.errors import EXIT_USAGE, Fatal
from pipeline.store.sqlite.store import SqliteStore
from tests.builders import START, json_key, scored

TEXTS = [f"What a lovely phone, I am happy with it, number {i}" for i in range(6)]
END = START + timedelta(days=1)
MODEL, ANN, BOB = "positive", "negative, a person", "neutral, a person"


class Labels:
    """The `labels` command on a store of six posts that the starter calls positive."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, SqliteStore(folder / "store.sqlite")
        self.store.setup()
        self.store.index([scored(i, minute=i, text=t, sentiment="positive") for i, t in enumerate(TEXTS)], START, 1)
        self.ids = [d.id for d in self.store.documents(START, END)]
        self.config = folder / "opinionwatch.toml"
        self.config.write_text(f'[store]\nurl = "sqlite:///{folder / "store.sqlite"}"\n')

    def run(self, *words: str) -> Any:
        said = CliRunner().invoke(app, ["labels", *words, "--config", str(self.config)])
        if isinstance(said.exception, Fatal):
            raise said.exception
        assert said.exit_code == 0, said.output
        return json.loads(said.stdout) if "--json" in words else said.stdout

    def give(self, annotator: str, sentiment: str, numbers: range, at: str) -> None:
        rows = [
            {
                "post": self.ids[i],
                "text": TEXTS[i],
                "labels": {"sentiment": sentiment},
                "annotator": annotator,
                "at": at,
            }
            for i in numbers
        ]
        file = self.folder / "labels.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert self.run("import", str(file), "--json")["posts_corrected"] == len(rows)

    def found(self) -> list[str]:
        documents = [d for key in self.ids if (d := self.store.post(key))]
        return [f"{d.labels['sentiment']}{', a person' if d.corrected else ''}" for d in documents]

    def negatives(self) -> int:
        cells = self.store.counts(START, END, NegativeDefinition())
        return sum(cell.negatives for cell in cells if cell.topic == "technology" and not cell.subject)


@pytest.fixture
def labels(tmp_path: Path) -> Labels:
    made = Labels(tmp_path)
    made.give("bob", "neutral", range(1, 3), "2026-11-20T08:00:00Z")
    made.give("ann", "negative", range(4), "2026-11-21T08:00:00Z")
    assert made.found() == [ANN, ANN, ANN, ANN, MODEL, MODEL]
    assert made.negatives() == 4
    return made


def test_what_one_person_said_is_taken_back(labels: Labels) -> None:
    done = labels.run("drop", "--annotator", "ann", "--yes", "--json")
    assert (done["chosen"], done["dropped"], done["posts"]) == (4, 4, 4)
    assert done["heads"]["sentiment"]["classes"] == {"negative": 4}
    assert labels.found() == [MODEL, BOB, BOB, MODEL, MODEL, MODEL]
    assert labels.negatives() == 0
    assert {x.annotator for x in labels.store.annotations()} == {"bob"}
    assert labels.run("drop", "--annotator", "ann", "--yes", "--json")["dropped"] == 0
    labels.give("ann", "negative", range(1), "2026-11-22T08:00:00Z")
    assert labels.found()[0] == ANN


def test_by_time_and_only_after_it_was_shown(labels: Labels) -> None:
    assert "would drop 2 labels" in labels.run("drop", "--until", "2026-11-21", "--dry-run")
    assert "4 negative; 4 by ann" in labels.run("drop", "--since", "2026-11-21T00:00:00+00:00", "--dry-run")
    assert len(list(labels.store.annotations())) == 6
    labels.run("drop", "--until", "2026-11-21", "--yes")
    assert labels.found() == [ANN, ANN, ANN, ANN, MODEL, MODEL], "the newer label stays in force"


def test_a_drop_that_was_killed_is_ended_by_the_same_command(labels: Labels, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> int:
        raise Fatal("killed", "again")

    with monkeypatch.context() as broken, pytest.raises(Fatal, match="killed"):
        broken.setattr(SqliteStore, "drop_annotations", killed)
        labels.run("drop", "--annotator", "ann", "--yes")
    done = labels.run("drop", "--annotator", "ann", "--yes", "--json")
    assert (done["dropped"], done["posts"]) == (4, 0), "the posts were put back before"
    assert labels.found() == [MODEL, BOB, BOB, MODEL, MODEL, MODEL]


@pytest.mark.parametrize(
    ("words", "why"), [((), "all labels"), (("--since", "monday"), "'monday' is not a time.*2026-11-20")]
)
def test_what_to_drop_is_to_be_said(labels: Labels, words: tuple[str, ...], why: str) -> None:
    with pytest.raises(Fatal, match=why) as refused:
        labels.run("drop", *words, "--yes")
    assert refused.value.exit_code == EXIT_USAGE


def test_labels_that_the_last_training_had_are_not_waited_for_again(labels: Labels) -> None:
    labels.store.put_state(json_key("retrain"), {"labels": 6, "outcome": "refused"})
    labels.run("drop", "--annotator", "ann", "--yes")
    assert labels.store.state(json_key("retrain")) == {"labels": 2, "outcome": "refused"}
    assert annotations_trained_on(labels.store, 5) == 2, "the next three count"


def test_an_older_annotation_of_another_head_that_comes_later_reaches_its_post(labels: Labels) -> None:
    row = {"post": labels.ids[4], "text": TEXTS[4], "annotator": "ann"}
    file = labels.folder / "a.jsonl"

    def give(label: dict[str, str], at: str) -> int:
        file.write_text(json.dumps({**row, "labels": label, "at": at}))
        return int(labels.run("import", str(file), "--json")["posts_corrected"])

    assert give({"topic": "finance"}, "2026-11-22T08:00:00Z") == 1
    assert give({"sentiment": "negative"}, "2026-11-20T08:00:00Z") == 1
    assert give({"sentiment": "negative"}, "2026-11-20T08:00:00Z") == 0, "a second import changes nothing"
    document = labels.store.post(labels.ids[4])
    assert document and document.labels == {"topic": "finance", "sentiment": "negative"}
    file.write_text(json.dumps({**row, "annotator": "bob", "labels": {"sentiment": "neutral"}, "at": "2026-11-19"}))
    assert labels.run("import", str(file), "--json")["posts_corrected"] == 0, "what ann said is newer"


def test_what_was_taken_back_can_be_given_again(labels: Labels) -> None:
    labels.run("drop", "--annotator", "ann", "--yes")
    labels.give("ann", "negative", range(4), "2026-11-21T08:00:00Z")
    assert labels.found() == [ANN, ANN, ANN, ANN, MODEL, MODEL]
