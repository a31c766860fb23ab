"""Fixtures for the files that 0.10.0 wrote, and for running commands on them."""

from __future__ import annotations

import gzip
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.cli.main import app

FILES = Path(__file__).parent / "files_0_10"
Opinionwatch = Callable[..., Any]


def holds(now: Any, then: Any) -> bool:
    """Whether `now` says all that `then` says; it may say more."""
    if isinstance(then, dict):
        return isinstance(now, dict) and all(name in now and holds(now[name], then[name]) for name in then)
    if isinstance(then, list):
        return isinstance(now, list) and len(now) == len(then) and all(map(holds, now, then))
    return bool(now == then)


@pytest.fixture(scope="session")
def files() -> Path:
    return FILES


@pytest.fixture(scope="session")
def facts() -> dict[str, Any]:
    """The facts that 0.10.0 read from its store; SQLite and Elasticsearch gave it the same."""
    return dict(json.loads(gzip.decompress((FILES / "facts.json.gz").read_bytes())))


@pytest.fixture
def old_registry(tmp_path: Path) -> Path:
    """A copy of the registry that a test may change."""
    with tarfile.open(FILES / "registry.tar.gz") as tar:
        tar.extractall(tmp_path, filter="data")
    return tmp_path / "registry"


@pytest.fixture
def opinionwatch(monkeypatch: pytest.MonkeyPatch) -> Opinionwatch:
    """Runs a command that must succeed, on settings given as `SECTION__KEY=value`; returns its JSON, or its text."""

    def run(*arguments: str, **settings: str) -> Any:
        for name, value in settings.items():
            monkeypatch.setenv(f"OPINIONWATCH_{name}", value)
        done = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout) if "--json" in arguments else done.stdout

    return run
