"""Posts labelled anew: the last to label wins, a killed run goes on, people outrank all."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from models.registry import Registry
from pipeline.annotation.relabelling import corrected, relabel_last, relabelled
from pipeline.cli.main import app
from pipeline.domain.counting import NegativeDefinition
from pipeline.domain.document_version import DocumentVersion
from pipeline.domain.post import Outcome
from pipeline.domain.post_document import PostDocument
from pipeline.store.sqlite.store import SqliteStore
from tests.builders import START, DummyClassifier, json_key, scored
from tests.unit.test_registry import bundle

RULE, POSTS = NegativeDefinition(), 1300


class Named(DummyClassifier):
    def __init__(self, version: str) -> None:
        super().__init__()
        self.version = version

    def infer(self, encoded: object) -> list:  # type: ignore[type-arg]
        found = super().infer(encoded)  # type: ignore[arg-type]
        for prediction in found:
            prediction.model_version = self.version
        return found


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    made = SqliteStore(tmp_path / "store.sqlite")
    made.setup()
    made.index([scored(i, minute=i, text=f"t{i}") for i in range(POSTS)], START, 1)
    return made


def versions(store: SqliteStore) -> dict[str, int]:
    found: dict[str, int] = {}
    for document in store.documents(START, START + timedelta(days=2)):
        name = "a person" if document.corrected else document.scored.model_version
        found[name] = found.get(name, 0) + 1
    return found


def test_a_correction_is_sure_of_what_it_says_and_keeps_how_sure_the_model_was_of_the_rest(store: SqliteStore) -> None:
    first = next(iter(store.documents(START, START + timedelta(days=1))))
    assert corrected(first, {"sentiment": "negative"}, RULE).scores == {"topic": 0.8, "sentiment": 1.0}
    body = {k: v for k, v in first.to_json().items() if k != "scores"}
    older = PostDocument.from_json(first.id, {**body, "labels": {**first.labels, "intent": "refund"}})
    found = corrected(older, {"sentiment": "negative"}, RULE)
    assert (found.scores, found.to_json()["topic_score"]) == ({"topic": 0.8, "sentiment": 1.0}, 0.8)
    (again,) = Named("2").predict([first.post.text])
    assert set(relabelled(first, again, RULE).scores) == {"topic", "sentiment"}


def test_after_a_rollback_the_older_model_labels_again(store: SqliteStore) -> None:
    first = next(iter(store.documents(START, START + timedelta(days=1))))
    store.replace([corrected(first, {"sentiment": "negative"}, RULE)], DocumentVersion.CORRECTED)
    for model in ("new", "old", "new", "old"):
        assert relabel_last(store, Named(model), RULE, 0)[1] == POSTS - 1
        assert versions(store) == {model: POSTS - 1, "a person": 1}
    assert store.index([scored(5, minute=5, text="t5")], START, 1) == [Outcome.REDELIVERED]


def test_a_killed_run_goes_on_and_another_model_starts_anew(store: SqliteStore) -> None:
    class KilledError(Exception):
        pass

    def kill(_: int) -> None:
        raise KilledError

    with pytest.raises(KilledError):
        relabel_last(store, Named("new"), RULE, 0, kill)
    assert versions(store) == {"new": 512, "1": POSTS - 512}
    assert store.state(json_key("relabelled")) is None, "the alert role is not to learn from half of it"
    assert relabel_last(store, Named("new"), RULE, 0) == (POSTS, POSTS - 512)
    with pytest.raises(KilledError):
        relabel_last(store, Named("newer"), RULE, 0, kill)
    assert relabel_last(store, Named("new"), RULE, 0) == (POSTS, POSTS)
    assert versions(store) == {"new": POSTS}


def test_promotion_and_rollback_label_the_last_days_anew_where_asked_to(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path / "registry"))
    one, two = (registry.register(bundle(tmp_path, version), by="ann").id for version in ("1", "2"))
    store = SqliteStore(tmp_path / "store.sqlite")
    store.setup()
    store.index([scored(i, minute=i * 1440, text=f"I love this phone {i}") for i in range(12)], START, 1)
    config = tmp_path / "opinionwatch.toml"
    config.write_text(
        f'[store]\nurl = "sqlite:///{tmp_path / "store.sqlite"}"\n[model]\nregistry = "{tmp_path / "registry"}"\n'
        "[training]\nrelabel_days = 3\n"
    )

    def run(*words: str) -> Result:
        said = CliRunner().invoke(app, ["models", *words, "--config", str(config)])
        assert said.exit_code == 0, said.output
        return said

    def labelled_by() -> list[str]:
        return [d.scored.model_version for d in store.documents(START, START + timedelta(days=20))][-4:]

    assert "models relabel" in run("promote", one).stderr
    assert labelled_by() == ["1"] * 4, "by the dummy that wrote them"
    assert json.loads(run("promote", two, "--relabel", "--json").stdout)["relabelled"] == 3
    assert labelled_by() == ["1", "2", "2", "2"]
    assert "3 of 3 posts carry labels of starter-1" in run("rollback", "--relabel").stdout
    assert labelled_by() == ["1"] * 4
    assert "relabelled" not in json.loads(run("promote", two, "--alias", "challenger", "--relabel", "--json").stdout)
