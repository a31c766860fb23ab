"""What people say about the sentiment toward a subject: import, correction, retraction, export, and training rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.annotation.queue import candidates
from pipeline.annotation.relabelling import corrected, relabelled
from pipeline.annotation.retraining_rows import count_history_of, write_training_rows
from pipeline.annotation.statistics import summary
from pipeline.annotation.targets import target_fields
from pipeline.classify.subjects import SubjectMatcher
from pipeline.cli.main import app
from pipeline.domain.annotation import Annotation
from pipeline.domain.counting import NegativeDefinition
from pipeline.domain.errors import Fatal
from pipeline.domain.post import Toward
from pipeline.domain.post_document import PostDocument
from pipeline.store.sqlite.store import SqliteStore
from tests.builders import START, DummyClassifier, scored

RULE = NegativeDefinition()
TEXT = "I left 诺瓦 for Kestrel"
SUBJECTS = SubjectMatcher({"Nova": ["诺瓦"], "Kestrel": ["kestrel"]})
GAIN, DOUBT = Toward("positive", 0.9, 0.02), Toward("positive", 0.4, 0.35)
WHOLE = Toward("neutral", 0.7, 0.1, whole_text=True)
ABOUT_NOVA = Annotation("p", "toward", "negative", "ann", START, TEXT, subject="Nova")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(tmp_path / "s.sqlite")
    made.setup()
    post = scored(0, text=TEXT, subjects=["Nova", "Kestrel"])._replace(toward={"Nova": DOUBT, "Kestrel": GAIN})
    made.index([post, scored(1, text="a quiet day")], START, 1)
    yield made
    made.close()


@pytest.fixture
def run(store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setenv("OPINIONWATCH_STORE__URL", f"sqlite:///{tmp_path}/s.sqlite")
    monkeypatch.setenv("OPINIONWATCH_SUBJECTS", json.dumps({"Nova": ["诺瓦"], "Kestrel": ["kestrel"]}))

    def call(*arguments: str, code: int = 0) -> Any:
        done = CliRunner().invoke(app, ["labels", *arguments])
        exit_code = done.exception.exit_code if isinstance(done.exception, Fatal) else done.exit_code
        assert exit_code == code, (done.output, done.exception)
        return done.stdout

    return call


def document(number: int = 0) -> PostDocument:
    post = scored(number, text=TEXT, subjects=["Nova", "Kestrel"])
    return PostDocument(post._replace(toward={"Nova": DOUBT, "Kestrel": WHOLE}), START, repost=False)


def said(**fields: Any) -> dict[str, Any]:
    row = {"post": scored(0).post.id, "text": TEXT, "subject": "Nova", "toward": "negative", "annotator": "ann"}
    return {**row, **fields}


def test_an_annotation_of_a_subject_is_read_back_and_has_an_id_of_its_own() -> None:
    marked = replace(ABOUT_NOVA, mention=(7, 9))
    for annotation in (ABOUT_NOVA, marked):
        assert Annotation.from_json(json.loads(json.dumps(annotation.to_json()))) == annotation
    assert len({ABOUT_NOVA.id, replace(ABOUT_NOVA, subject="Kestrel").id, replace(ABOUT_NOVA, subject="").id}) == 3
    plain = replace(ABOUT_NOVA, subject="", head="sentiment").to_json()
    assert not {"subject", "mention"} & plain.keys(), "older releases know no such fields"


def test_the_import_corrects_one_subject_of_a_post(run: Any, store: SqliteStore, tmp_path: Path) -> None:
    file = tmp_path / "said.jsonl"
    file.write_text(json.dumps(said()), "utf-8")
    report = json.loads(run("import", str(file), "--json"))
    assert (report["imported"], report["posts_corrected"], report["unknown_columns"]) == (1, 1, [])
    (annotation,) = store.annotations()
    assert (annotation.subject, annotation.head, annotation.label) == ("Nova", "toward", "negative")
    assert (annotation.suggested, annotation.text) == ("positive", TEXT)
    found = store.post(scored(0).post.id)
    assert found is not None
    assert found.corrected
    assert found.toward == {"Nova": Toward("negative", 1.0, 1.0), "Kestrel": GAIN}
    assert found.labels["sentiment"] == "neutral", "the whole text stays as the model judged it"
    again = json.loads(run("import", str(file), "--json"))
    assert again["posts_corrected"] == 0


def test_words_of_the_text_stand_for_the_subject_that_they_name(run: Any, store: SqliteStore, tmp_path: Path) -> None:
    file = tmp_path / "said.jsonl"
    row = {k: v for k, v in said().items() if k != "subject"}
    file.write_text(json.dumps({**row, "target": "诺瓦", "from": 7, "to": 9}), "utf-8")
    assert json.loads(run("import", str(file), "--json"))["posts_corrected"] == 1
    (annotation,) = store.annotations()
    assert (annotation.subject, annotation.mention) == ("Nova", (7, 9))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"subject": "Orion"}, "subject 'Orion' is not a subject of the post (Nova, Kestrel)"),
        ({"toward": "angry"}, "label 'angry' is not a class of 'toward' (negative, neutral, positive)"),
    ],
)
def test_a_row_that_names_no_subject_of_the_post_is_refused(
    run: Any, tmp_path: Path, fields: dict[str, Any], reason: str
) -> None:
    file = tmp_path / "said.jsonl"
    file.write_text(f"{json.dumps(said(**fields))}\n{json.dumps(said(subject='Kestrel'))}\n", "utf-8")
    report = json.loads(run("import", str(file), "--json"))
    assert report["imported"] == 1
    assert report["reasons"] == [f"said.jsonl:1: {reason}"]


def test_the_export_has_a_row_for_each_subject_which_the_import_reads(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "said.jsonl"
    rows = [
        said(),
        said(subject="Kestrel", toward="positive"),
        {**said(), "subject": "", "toward": "", "sentiment": "neutral"},
    ]
    file.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    run("import", str(file), "--json")
    exported = [json.loads(line) for line in run("export").splitlines()]
    targets = {row.get("subject"): (row.get("target"), row.get("from"), row.get("to")) for row in exported}
    assert targets == {"Nova": ("诺瓦", 7, 9), "Kestrel": ("Kestrel", 14, 21), None: (None, None, None)}
    assert {row.get("subject"): row["labels"] for row in exported} == {
        "Nova": {"toward": "negative"}, "Kestrel": {"toward": "positive"}, None: {"sentiment": "neutral"},
    }  # fmt: skip
    copy = tmp_path / "copy.jsonl"
    copy.write_text("\n".join(map(json.dumps, exported)), "utf-8")
    report = json.loads(run("import", str(copy), "--json"))
    assert (report["imported"], report["posts_corrected"], report["refused"]) == (3, 0, 0)


def test_the_queue_says_how_the_model_judged_each_subject(run: Any) -> None:
    (first,) = json.loads(run("queue", "--json", "--head", "toward"))
    assert first["toward"] == {"Nova": "positive", "Kestrel": "positive"}
    assert first["why"][0] == "unsure (0.40)", "about the subject that the model was least sure about"
    assert "Nova positive" in run("queue", "--head", "toward")
    assert len(json.loads(run("queue", "--json"))) == 2


def test_a_post_without_subjects_is_no_candidate_for_toward() -> None:
    empty = PostDocument(scored(3), START, repost=False)
    found = candidates([empty, document()], labelled=frozenset(), evidence=frozenset(), new=frozenset(), head="toward",
                       per_topic=5)  # fmt: skip
    assert [candidate.document.scored.subjects for candidate in found] == [("Nova", "Kestrel")]


def test_a_subject_that_no_model_judged_follows_the_whole_text() -> None:
    made = corrected(document(), {"sentiment": "negative"}, RULE, {"Orion": "negative"})
    assert made.toward == {"Nova": DOUBT, "Kestrel": Toward("negative", 1.0, 1.0, whole_text=True)}
    old = replace(document(), scored=document().scored._replace(toward={}))
    made = corrected(old, {}, RULE, {"Kestrel": "negative"})
    assert made.toward == {
        "Nova": Toward("neutral", 0.7, 0.1, whole_text=True),
        "Kestrel": Toward("negative", 1.0, 1.0),
    }


def test_relabelling_gives_an_older_document_the_sentiment_toward_its_subjects() -> None:
    old = replace(document(), scored=document().scored._replace(toward={}))
    (prediction,) = DummyClassifier().predict([TEXT])
    made = relabelled(old, prediction, RULE)
    assert made.toward.keys() == {"Nova", "Kestrel"}


def test_annotators_agree_about_the_same_subject_only() -> None:
    bob = replace(ABOUT_NOVA, annotator="bob", subject="Kestrel", label="positive")
    assert summary([ABOUT_NOVA, bob]).agreement == ()
    assert len(summary([ABOUT_NOVA, bob, replace(bob, subject="Nova")]).agreement) == 1


def test_training_rows_say_where_the_subject_is(store: SqliteStore, tmp_path: Path) -> None:
    marked = replace(ABOUT_NOVA, post="q", subject="Kestrel", mention=(14, 21))
    lost = replace(ABOUT_NOVA, post="r", subject="Orion")
    store.put_annotations([ABOUT_NOVA, marked, lost])
    heads = {"toward": ["negative", "neutral", "positive"]}
    written = write_training_rows(store, tmp_path / "rows.jsonl", heads, 0, SUBJECTS)
    assert written == {"labels": 2, "labels without a mention": 1}
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text("utf-8").splitlines()]
    assert sorted((row["target"], row["from"], row["to"], row["labels"]["toward"]) for row in rows) == [
        ("Kestrel", 14, 21, "negative"), ("诺瓦", 7, 9, "negative"),
    ]  # fmt: skip


def test_a_subject_is_found_by_its_own_name_where_the_settings_do_not_know_it() -> None:
    assert target_fields(replace(ABOUT_NOVA, subject="for"), SUBJECTS) == {"target": "for", "from": 10, "to": 13}
    assert target_fields(replace(ABOUT_NOVA, subject="Orion"), SUBJECTS) == {}


def test_the_gate_counts_documents_as_the_store_counts_them(store: SqliteStore) -> None:
    loss = {"Nova": Toward("negative", 0.9, 0.9), "Kestrel": GAIN}
    post = scored(5, text="Nova failed", sentiment="positive", subjects=["Nova", "Kestrel"])._replace(toward=loss)
    store.index([post], START, 1)
    documents = list(store.documents(START, START.replace(year=2027)))
    history = count_history_of(documents, RULE)
    counted = {key: int(history.negatives[k].sum()) for k, key in enumerate(history.keys)}
    cells = store.counts(START, START.replace(year=2027), RULE)
    of_store = {name: sum(c.negatives for c in cells if c.subject == name) for name in ("Nova", "Kestrel")}
    assert {name: counted[f"subject:{name}"] for name in of_store} == of_store == {"Nova": 1, "Kestrel": 0}
