"""The rows of a retraining: all labels, and posts from all of the last month alike."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

from models.files.annotation_files import PEOPLE, REHEARSAL
from pipeline.annotation.relabelling import corrected
from pipeline.annotation.retraining_rows import write_training_rows
from pipeline.domain.annotation import Annotation
from pipeline.domain.counting import NegativeDefinition
from pipeline.domain.document_version import DocumentVersion
from pipeline.store.sqlite.store import SqliteStore
from tests.builders import START, scored

HEADS = {"topic": ["technology"], "sentiment": ["negative", "neutral", "positive"]}
HOURS = 20 * 24


def test_rehearsal_comes_from_all_of_the_time_and_people_come_first(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.sqlite")
    store.setup()
    # One post an hour, and a hundred more in one minute of the first day, which must not fill the rehearsal.
    posts = [scored(i, minute=60 * i, text=f"hour {i}") for i in range(HOURS)]
    posts += [scored(HOURS + i, minute=5, text=f"burst {i}") for i in range(100)]
    store.index(posts, START, 1)
    first = next(iter(store.documents(START, START + timedelta(minutes=1))))
    store.replace([corrected(first, {"sentiment": "negative"}, NegativeDefinition())], DocumentVersion.CORRECTED)
    said = [
        Annotation(f"p{i}", "sentiment", "negative", "ann", START, text)
        for i, text in enumerate(("hour 77", "another text"))
    ]
    odd = Annotation("p", "intent", "refund", "ann", START, "of a head that the model has not")
    store.put_annotations([*said, odd])
    file = tmp_path / "rows.jsonl"
    assert write_training_rows(store, file, HEADS, 24) == {"labels": 2, "rehearsal": 48}
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert {r["text"] for r in rows if r["source"] == PEOPLE} == {"hour 77", "another text"}
    rehearsed = [r for r in rows if r["source"] == REHEARSAL]
    assert rehearsed[0]["labels"] == {"topic": "technology", "sentiment": "neutral"}
    texts = {r["text"] for r in rehearsed}
    assert len(texts) == 48
    assert not texts & {"hour 0", "hour 77"}, "corrected, or labelled under another id"
    days = {int(t.split()[1]) // 24 for t in texts if t.startswith("hour")}
    assert len(days) == 20, "each day has its share"
    assert write_training_rows(store, file, HEADS, 0) == {"labels": 2}


def test_an_empty_index_has_none(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.sqlite")
    store.setup()
    store.put_annotations([Annotation("p", "sentiment", "negative", "ann", START, "text")])
    assert write_training_rows(store, tmp_path / "rows.jsonl", HEADS, 4) == {"labels": 1}
