"""`alerts ack`, `snooze` and `false`, and how each is taken back: what people say of an alert."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from pipeline.cli.main import app
from pipeline.domain.operator_state import OperatorState, operator_key
from pipeline.domain.states import StateKey, T
from pipeline.store.sqlite.store import SqliteStore
from tests.builders import an_alert
from tests.flow.test_notifier import Fake, Rig, document


def test_of_two_who_speak_at_once_both_are_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteStore(tmp_path / "store.sqlite")
    store.setup()
    store.put_alert(an_alert(pending=[]))
    config = tmp_path / "opinionwatch.toml"
    config.write_text(f'[store]\nurl = "sqlite:///{tmp_path / "store.sqlite"}"\n')
    swap, others = SqliteStore.swap_state, [OperatorState(snoozed_by="bob")]

    def late(self: SqliteStore, key: StateKey[T], before: T | None, value: T) -> bool:
        """Bob's word arrives between Ann's reading and her writing."""
        if others:
            store.put_state(key, cast("T", others.pop()))
        return swap(self, key, before, value)

    monkeypatch.setattr(SqliteStore, "swap_state", late)
    said = CliRunner().invoke(app, ["alerts", "ack", "a", "--by", "ann", "--config", str(config)])
    assert said.exit_code == 0, said.output
    found = store.state(operator_key("a")) or OperatorState()
    assert (found.acknowledged_by, found.snoozed_by) == ("ann", "bob")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    store = SqliteStore(tmp_path / "store.sqlite")
    store.setup()
    made = Rig(store, Fake("pager"))
    made.put(a=document("a"))
    yield made
    store.close()


def say(tmp_path: Path, *words: str, code: int = 0) -> dict[str, Any]:
    config = tmp_path / "opinionwatch.toml"
    config.write_text(f'[store]\nurl = "sqlite:///{tmp_path / "store.sqlite"}"\n')
    said = CliRunner().invoke(app, ["alerts", *words, "--json", "--config", str(config)])
    assert getattr(said.exception, "exit_code", said.exit_code) == code, said.output
    return dict(json.loads(said.output)) if code == 0 else {}


@pytest.mark.parametrize("undo", [["unack", "a"], ["ack", "a", "--undo"]])
def test_an_acknowledgement_can_be_taken_back(rig: Rig, tmp_path: Path, undo: list[str]) -> None:
    assert say(tmp_path, "ack", "a", "--by", "ann")["acknowledged_by"] == "ann"
    assert "acknowledged by ann" in rig.told("a")
    assert say(tmp_path, *undo) == {"id": "a"}
    assert "acknowledged" not in rig.told("a")


def test_a_snooze_can_be_ended_and_what_waited_goes_out(rig: Rig, tmp_path: Path) -> None:
    pager = cast("Fake", rig.channels[0])
    say(tmp_path, "snooze", "a", "--for", "2d", "--reason", "known", "--by", "bob")
    rig.put(a=document("a", sequence=1))
    rig.pass_(3600)
    assert pager.keys() == ["a#0-opened"]
    assert say(tmp_path, "unsnooze", "a") == {"id": "a"}
    rig.pass_(30)
    assert pager.keys() == ["a#0-opened", "a#1-reminder"]


def test_a_false_alarm_closes_the_alert_and_can_be_taken_back(rig: Rig, tmp_path: Path) -> None:
    said = say(tmp_path, "false", "a", "--by", "ann", "--note", "a joke")
    assert said["false_alarm_by"] == "ann"
    shown = say(tmp_path, "show", "a")
    assert (shown["state"], shown["false_alarm"]["by"], shown["false_alarm"]["note"]) == ("resolved", "ann", "a joke")
    rig.pass_(30)
    assert cast("Fake", rig.channels[0]).keys() == ["a#0-opened", "a#0-resolved"]
    assert say(tmp_path, "false", "a", "--undo") == {"id": "a"}
    assert say(tmp_path, "show", "a")["state"] == "open"
    assert say(tmp_path, "false", "a", "--undo", code=2) == {}


@pytest.mark.parametrize("command", ["ack", "unack", "snooze", "unsnooze", "false"])
def test_each_command_shows_an_example(command: str) -> None:
    shown = CliRunner().invoke(app, ["alerts", command, "--help"]).output
    assert f"Example: opinionwatch alerts {command}" in " ".join(shown.split())
