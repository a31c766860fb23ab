"""`bench engine`: what one would use instead of our engine."""

from __future__ import annotations

import sys

import pytest
from typer.testing import CliRunner

from pipeline.cli.main import app
from pipeline.domain.errors import EXIT_CONFIG, Fatal


@pytest.mark.long
def test_a_peer_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(Fatal, match="pip install nncf") as refused:
        CliRunner().invoke(app, ["bench", "engine", "--against", "openvino-nncf"], catch_exceptions=False)
    assert refused.value.exit_code == EXIT_CONFIG
