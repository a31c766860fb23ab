"""A bundle that is trained or exported from another keeps its limits: when a head abstains, and when irony counts."""

import json
from pathlib import Path
from typing import Any

from models.bundle import MANIFEST
from pipeline.settings import STARTER
from training.bundle.limits import keep_limits

TOPIC = {"name": "topic", "labels": ["x", "y"], "temperature": 1.2}
IRONY = {"name": "irony", "labels": ["not", "irony"], "temperature": 1.1}
LIMITS = {"abstain_below": 0.4}
DOUBT = {"doubt": {"threshold": 0.7, "weight": 0.8}}


def bundle(folder: Path, *heads: dict[str, Any]) -> Path:
    """A folder with the starter's manifest and these heads."""
    folder.mkdir()
    manifest = json.loads((STARTER / MANIFEST).read_text("utf-8"))
    (folder / MANIFEST).write_text(json.dumps({**manifest, "heads": heads}), "utf-8")
    return folder


def heads_of(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / MANIFEST).read_text("utf-8"))["heads"]
    return found


def test_the_limits_of_heads_with_the_same_classes_are_kept(tmp_path: Path) -> None:
    base = bundle(tmp_path / "base", {**TOPIC, **LIMITS}, {**IRONY, **DOUBT})
    made = bundle(tmp_path / "made", {**IRONY, "temperature": 2.0}, TOPIC)
    keep_limits(base, made)
    assert heads_of(made) == [{**IRONY, "temperature": 2.0, **DOUBT}, {**TOPIC, **LIMITS}]


def test_a_head_with_other_classes_gets_no_limit_and_one_without_limits_stays_as_it_was(tmp_path: Path) -> None:
    base = bundle(tmp_path / "base", {**TOPIC, **LIMITS}, IRONY)
    wider = {**TOPIC, "labels": ["x", "y", "z"]}
    made = bundle(tmp_path / "made", wider, IRONY)
    keep_limits(base, made)
    assert heads_of(made) == [wider, IRONY]


def test_a_base_that_is_not_a_bundle_has_no_limits(tmp_path: Path) -> None:
    made = bundle(tmp_path / "made", TOPIC, IRONY)
    keep_limits(tmp_path / "intfloat" / "multilingual-e5-small", made)
    assert heads_of(made) == [TOPIC, IRONY]
