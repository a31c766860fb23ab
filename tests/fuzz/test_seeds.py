"""The short form of `python -m tests.fuzz`: what failed once, and a few new inputs of every target."""

from __future__ import annotations

import pytest

from tests.fuzz import engine


@pytest.mark.parametrize("name", engine.names())
def test_inputs_that_failed_once_are_handled(name: str) -> None:
    for _, data in engine.seeds(name):
        engine.timed(engine.target(name).run, data)


@pytest.mark.parametrize("name", engine.names())
def test_new_inputs_are_handled_or_refused(name: str) -> None:
    _, data, error = engine.search(name, 40, seed_number=1)
    assert data is None, f"{type(error).__name__}: {error}; input {data!r}"
