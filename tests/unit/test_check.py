"""`opinionwatch check` names everything that is wrong, each with its own cause, and ends in time."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.cli.check import checks
from pipeline.cli.main import app
from pipeline.domain.errors import EXIT_BUG, EXIT_CONFIG, EXIT_UNAVAILABLE
from tests.services.process import free_port

RUNNER = CliRunner()


def report(code: int, **environ: str) -> dict[str, dict[str, Any]]:
    env = {f"OPINIONWATCH_{name}": value for name, value in environ.items()}
    done = RUNNER.invoke(app, ["check", "--json"], env=env)
    assert done.exit_code == code, done.output
    return {row["name"]: row for row in json.loads(done.stdout)}


def test_every_failure_is_named_and_a_wrong_setting_outweighs_a_service_that_is_away() -> None:
    found = report(
        EXIT_CONFIG,
        STORE__URL=f"http://127.0.0.1:{free_port()}",
        KAFKA__BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}",
        MODEL__BUNDLE="/nowhere",
        SUBJECTS='{"Nova": []}',
        ALERTS__CHANNELS='[{"name": "ops", "kind": "slack", "url": "https://hooks.invalid/x"}]',
    )
    failing = {name for name, row in found.items() if not row["ok"]}
    assert failing == {"model", "subjects", "store", "kafka", "channel ops"}
    assert all(row["problem"] and row["remedy"] for row in found.values() if not row["ok"])
    assert "refused" in found["kafka"]["problem"]
    assert "Nova" in found["subjects"]["problem"]


def test_a_model_without_the_head_that_alerts_count_is_named() -> None:
    found = report(EXIT_CONFIG, ALERTS__HEAD="mood")
    assert "mood" in found["model"]["problem"]
    assert "sentiment" in found["model"]["remedy"]


def test_only_a_service_that_is_away_is_69_and_wrong_settings_are_one_row() -> None:
    found = report(EXIT_UNAVAILABLE, STORE__URL=f"http://127.0.0.1:{free_port()}")
    assert [name for name, row in found.items() if not row["ok"]] == ["store"]
    (row,) = report(EXIT_CONFIG, KAFKA__GROPU="x").values()
    assert row["name"] == "settings"
    assert "kafka.group" in row["problem"]


def test_a_host_that_takes_connections_and_never_answers_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_PATIENCE_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        began = time.monotonic()
        found = report(
            EXIT_UNAVAILABLE, STORE__URL=f"http://127.0.0.1:{port}", KAFKA__BOOTSTRAP_SERVERS=f"127.0.0.1:{port}"
        )
        assert time.monotonic() - began < 30
    assert not found["store"]["ok"]
    assert not found["kafka"]["ok"]


def test_two_channels_of_one_name_are_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = {"name": "ops", "kind": "webhook", "url": f"http://127.0.0.1:{listener.getsockname()[1]}/"}
        found = report(EXIT_CONFIG, ALERTS__CHANNELS=json.dumps([one | {"allow_private": True}] * 2))
    assert "'ops' is given twice" in found["channels"]["problem"]


def test_a_bug_in_one_check_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> str:
        raise KeyError("x")

    monkeypatch.setattr(checks, "_one_runtime", broken)
    found = report(EXIT_BUG)
    assert "KeyError" in found["runtime"]["problem"]
    assert found["model"]["ok"]
