"""State documents: what this release reads of others, and what it writes for them."""

from __future__ import annotations

import logging
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from models.prevalence import ScoreGroup
from pipeline.domain.errors import Fatal
from pipeline.domain.states import (
    LAST_TRAINING,
    RELABELLED,
    RELABELLING,
    SERVED_MODEL,
    CachedCounts,
    InvalidationToken,
    LastTraining,
    Relabelled,
    RelabellingRun,
    ServedModel,
    StateKey,
    counts_key,
    invalidation_key,
)
from pipeline.store.sqlite.store import SqliteStore
from tests.builders import START, json_key

DAY = date(2026, 11, 24)
GROUP = ScoreGroup("cars", "negative", 20, ("negative", "other"), (1.0, 0.0), (0.75, 0.25), ((0.0, 0.0), (0.0, 0.0)))
#: Key, its value, and the document that 0.11.0 keeps under the key.
DOCUMENTS: list[tuple[StateKey[Any], object, str, dict[str, Any]]] = [
    (SERVED_MODEL, ServedModel("starter", "0.10.0"), "model", {"name": "starter", "version": "0.10.0"}),
    (
        SERVED_MODEL,
        ServedModel("starter", "0.12.0", {"toward": (GROUP,)}),
        "model",
        {
            "name": "starter",
            "version": "0.12.0",
            "prevalence": {
                "toward": [
                    {
                        "source": "cars",
                        "label": "negative",
                        "rows": 20,
                        "classes": ["negative", "other"],
                        "called": [1.0, 0.0],
                        "mean": [0.75, 0.25],
                        "covariance": [[0.0, 0.0], [0.0, 0.0]],
                    }
                ]
            },
        },
    ),
    (
        RELABELLING,
        RelabellingRun(1003, "starter 0.10.0", done=False),
        "relabelling",
        {"version": 1003, "model": "starter 0.10.0", "done": False},
    ),
    (
        RELABELLED,
        Relabelled(START, "starter 0.10.0", 7),
        "relabelled",
        {"at": START.isoformat(), "model": "starter 0.10.0", "posts": 7},
    ),
    (
        LAST_TRAINING,
        LastTraining(40, START, "promoted"),
        "retrain",
        {"labels": 40, "at": START.isoformat(), "outcome": "promoted"},
    ),
    (invalidation_key(DAY), InvalidationToken("3f"), "changed-2026-11-24", {"mark": "3f"}),
    (
        counts_key(DAY),
        CachedCounts("3f", "a1", 2, "eJw="),
        "counts-2026-11-24",
        {"mark": "3f", "rule": "a1", "cells": 2, "body": "eJw="},
    ),
]


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    made = SqliteStore(tmp_path / "store.sqlite")
    made.setup()
    return made


@pytest.mark.parametrize(("key", "value", "name", "document"), DOCUMENTS)
def test_each_state_stands_under_the_name_and_in_the_json_of_earlier_releases(
    store: SqliteStore, key: StateKey[Any], value: object, name: str, document: dict[str, Any]
) -> None:
    store.put_state(key, value)
    assert store.state(json_key(name)) == document
    store.put_state(json_key(name), {**document, "of a newer release": 1})
    assert store.state(key) == value


def test_what_earlier_releases_left_out_has_a_default(store: SqliteStore) -> None:
    store.put_state(json_key("retrain"), {"labels": 6})
    store.put_state(json_key("counts-2026-11-24"), {"mark": "3f", "cells": 0, "body": ""})
    assert store.state(LAST_TRAINING) == LastTraining(6)
    assert store.state(counts_key(DAY)) == CachedCounts("3f", "", 0, "")


def test_a_state_that_cannot_be_read_is_fatal_and_names_it(store: SqliteStore) -> None:
    store.put_state(json_key("relabelled"), {"at": "yesterday", "model": "m", "posts": 1})
    for read in (
        lambda: store.state(RELABELLED),
        lambda: store.states([RELABELLED]),
        lambda: store.swap_state(RELABELLED, None, Relabelled(START, "m", 1)),
    ):
        with pytest.raises(Fatal, match="state relabelled.*release of opinionwatch that wrote it"):
            read()
    assert store.state(json_key("relabelled")) == {"at": "yesterday", "model": "m", "posts": 1}


def test_cached_counts_that_cannot_be_read_count_as_missing(
    store: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.put_state(json_key("counts-2026-11-24"), {"columns": []})
    with caplog.at_level(logging.WARNING):
        assert store.state(counts_key(DAY)) is None
        assert store.states([counts_key(DAY), counts_key(DAY + timedelta(days=1))]) == {}
    assert "counts-2026-11-24" in caplog.text


def test_a_key_is_known_by_its_name_whatever_reads_it() -> None:
    """A reader that takes the JSON as it is and one that decodes it ask for the same state."""
    other: StateKey[Any] = StateKey("retrain", dict, dict, expendable=True)
    assert other == LAST_TRAINING
    assert {LAST_TRAINING: 1}[other] == 1
    assert other != RELABELLED
