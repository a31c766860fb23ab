"""Today's code reads the settings, recipes, registries, annotations and records that 0.10.0 wrote."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from models.aliases import CHALLENGER, CHAMPION
from models.bundle import load_bundle
from models.registry import Registry
from pipeline.domain.progress import Progress
from pipeline.kafka import admin
from pipeline.settings import resolve
from tests.compat.conftest import Opinionwatch, holds
from tests.system import System
from training.config import load_config

#: Dotted key of 0.10.0 -> dotted key of today, where the two differ.
RENAMED_SETTINGS = {
    "alerts.blind_after_s": "alerts.no_data_after_s",
    "alerts.blind_share": "alerts.no_data_share",
    "alerts.quiet": "alerts.quiet_hours",
    "alerts.rules": "alerts.overrides",
}
RENAMED_HYPERPARAMETERS = {
    "train.encoder_rate": "train.encoder_lr",
    "train.fresh_rate": "train.head_lr",
    "train.embedding_rate": "train.embedding_lr",
    "train.decay": "train.lr_schedule",
    "train.accumulation": "train.gradient_accumulation_steps",
    "train.base_share": "train.wise_ft_alpha",
    "train.keep_heads": "train.lwf_weight",
    "train.runs": "train.soup_size",
    "train.disturbed": "train.perturbed_share",
    "train.trim": "train.small_loss_trim",
    "shrink.layers": "pruning.layers",
    "shrink.pieces": "pruning.pieces",
}


def leaves(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def _without(rows: Iterable[dict[str, Any]], names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in names} for row in rows]


def test_every_setting_has_the_value_that_the_old_file_gives(files: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        settings = resolve(files / "opinionwatch.toml", environ={}).settings
    now = dict(leaves(settings.model_dump(mode="json")))
    then = dict(leaves(json.loads((files / "settings.json").read_text("utf-8"))))
    webhooks = [{"kind": "webhook", **hook} for hook in then.pop("alerts.webhooks")]
    then["alerts.channels"] = [*webhooks, *then["alerts.channels"]]
    differ = {key for key, value in then.items() if not holds(now.get(RENAMED_SETTINGS.get(key, key)), value)}
    assert differ == set()
    assert settings.kafka.password.get_secret_value() == "kafka-secret"
    assert settings.store.password.get_secret_value() == "es-secret"
    secrets = [(c.name, c.secret.get_secret_value()) for c in settings.alerts.channels]
    assert secrets == [("old-hook", "hook-secret"), ("oncall", "channel-secret"), ("chat", ""), ("mail", "mail-secret")]
    assert settings.alerts.channels[0].url.get_secret_value() == "https://hooks.example/T0/B1"


def test_a_warning_names_the_new_name_of_each_old_setting(files: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        resolve(files / "opinionwatch.toml", environ={})
    warned = [record.getMessage() for record in caplog.records]
    assert len(warned) == len(RENAMED_SETTINGS) + 1
    for old, new in [*RENAMED_SETTINGS.items(), ("alerts.webhooks", "alerts.channels")]:
        assert any(f"setting {old} " in line and new in line for line in warned), old


def test_every_hyperparameter_has_the_value_that_the_old_recipe_gives(files: Path) -> None:
    now = dict(leaves(load_config(files / "recipe.toml").model_dump(mode="json")))
    then = dict(leaves(json.loads((files / "recipe.json").read_text("utf-8"))))
    then["train.base_share"] = 1 - then["train.base_share"]  # the new name weights the trained weights instead
    assert {k for k, value in then.items() if not holds(now.get(RENAMED_HYPERPARAMETERS.get(k, k)), value)} == set()


def test_a_warning_names_the_new_name_of_each_old_hyperparameter(files: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        load_config(files / "recipe.toml")
    warned = [record.getMessage() for record in caplog.records]
    train = {old: new for old, new in RENAMED_HYPERPARAMETERS.items() if old.startswith("train.")}
    assert len(warned) == len(train) + 1
    for old, new in [*train.items(), ("shrink", "pruning")]:
        assert any(f"{old} is now called {new.removeprefix('train.')};" in line for line in warned), old


def test_the_registry_lists_promotes_and_rolls_back(old_registry: Path, opinionwatch: Opinionwatch) -> None:
    rows = opinionwatch("models", "list", "--json", MODEL__REGISTRY=str(old_registry))
    assert [(r["id"], r["sequence"], r["aliases"]) for r in rows] == [
        ("toy-0.1.0", 1, []), ("toy-0.2.0", 2, [CHAMPION]), ("toy-0.3.0", 3, [CHALLENGER]),
    ]  # fmt: skip
    assert rows[1]["metrics"] == {"toy/sentiment/macro_f1": 0.7}
    assert opinionwatch("models", "promote", "toy-0.3.0", "--json")[CHAMPION] == "toy-0.3.0"
    assert opinionwatch("models", "rollback", "--json")[CHAMPION] == "toy-0.2.0"
    assert opinionwatch("models", "rollback", "--json")[CHAMPION] == "toy-0.1.0", (
        "the history of the old release counts"
    )
    trail = [(e["action"], e.get("version")) for e in Registry(str(old_registry)).audit()]
    assert trail[:3] == [("register", f"toy-0.{n}.0") for n in (1, 2, 3)]
    assert trail[3:8] == [
        ("point", "toy-0.1.0"), ("point", "toy-0.2.0"), ("point", "toy-0.3.0"), ("point", "toy-0.3.0"),
        ("rollback", "toy-0.2.0"),
    ]  # fmt: skip
    assert len(trail) == 11


def test_an_old_bundle_is_verified_and_serves(old_registry: Path) -> None:
    registry = Registry(str(old_registry))
    registry.verify("toy-0.2.0")
    engine = load_bundle(registry.fetch("toy-0.2.0"), device="cpu")  # asks the golden texts of the manifest
    assert (engine.name, engine.version, list(engine.heads)) == ("toy", "0.2.0", ["topic", "sentiment"])
    (prediction,) = engine.predict(["the good phone"])
    assert prediction.label("sentiment") in engine.heads["sentiment"].labels


def test_exported_annotations_are_imported_and_exported_alike(
    files: Path, tmp_path: Path, old_registry: Path, opinionwatch: Opinionwatch
) -> None:
    given = files / "annotations.jsonl"
    opinionwatch("setup", STORE__URL=f"sqlite:///{tmp_path}/new.sqlite", MODEL__REGISTRY=str(old_registry))
    done = opinionwatch("labels", "import", str(given), "--json")
    assert (done["imported"], done["refused"]) == (6, 0)
    exported = [json.loads(line) for line in opinionwatch("labels", "export").splitlines()]
    # This store lacks the posts: each text is known by its hash, and the model that labelled it is unknown.
    unlike = ("post", "model")
    assert holds(_without(exported, unlike), _without(map(json.loads, given.read_text("utf-8").splitlines()), unlike))


def test_old_records_of_progress_are_read(files: Path, facts: dict[str, Any]) -> None:
    records = json.loads((files / "records.json").read_text("utf-8"))["opinion.progress"]
    read = [Progress.from_json(json.loads(record["value"])) for record in records]
    assert [f"{p.topic}/{p.partition}" for p in read] == [record["key"] for record in records]
    assert holds([p.to_json() for p in read], facts["progress"])


@pytest.mark.services
@pytest.mark.timeout(300)
def test_old_dead_letters_are_listed_shown_and_replayed(files: Path, system: System) -> None:
    records = json.loads((files / "records.json").read_text("utf-8"))["opinion.dead"]
    kafka = resolve(environ=system.env).settings.kafka
    with admin.producer(kafka) as send:
        for record in records:
            headers = [(name, text.encode()) for name, text in record["headers"].items()]
            send(kafka.dead_topic, record["value"].encode(), key=record["key"].encode(), headers=headers)
    rows = system.cli("dead", "list", "--json")
    for row, record in zip(rows, records, strict=True):
        then = record["headers"]
        assert all(row[name] == then[name] for name in ("origin", "stage", "reason", "first_seen"))
        assert row["replayed"] == int(then["replayed"])
    assert [row["by_reference"] for row in rows] == [False, False, True]
    assert rows[2]["bytes"] == 10_000_001
    assert '"id": "broken"' in system.cli("dead", "show", rows[0]["id"])
    assert system.cli("dead", "replay", rows[0]["id"], "--dry-run", "--json")["replayed"] == 1
    assert system.cli("dead", "drop", rows[1]["id"], "--yes", "--json")["dropped"] == 1
    assert len(system.cli("dead", "list", "--json")) == 2
