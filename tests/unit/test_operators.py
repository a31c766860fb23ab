"""`alerts ack` and `alerts snooze`: what people say of an alert."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.alerting.decide import operator_state
from pipeline.cli import app
from pipeline.store.sqlite import SqliteStore
from tests.builders import START


def test_of_two_who_speak_at_once_both_are_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteStore(tmp_path / "store.sqlite")
    store.setup()
    store.put_alert("a", {"key": "topic:x", "state": "open", "started_at": START.isoformat(), "pending": []})
    config = tmp_path / "opinionwatch.toml"
    config.write_text(f'[store]\nurl = "sqlite:///{tmp_path / "store.sqlite"}"\n')
    swap, others = SqliteStore.swap_state, [{"snoozed_by": "bob"}]

    def late(self: SqliteStore, name: str, before: Mapping[str, Any] | None, value: Mapping[str, Any]) -> bool:
        """Bob's word arrives between Ann's reading and her writing."""
        if others:
            store.put_state(name, others.pop())
        return swap(self, name, before, value)

    monkeypatch.setattr(SqliteStore, "swap_state", late)
    said = CliRunner().invoke(app, ["alerts", "ack", "a", "--by", "ann", "--config", str(config)])
    assert said.exit_code == 0, said.output
    found = store.state(operator_state("a")) or {}
    assert (found["acknowledged_by"], found["snoozed_by"]) == ("ann", "bob")
