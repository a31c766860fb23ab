"""Every benchmark that uses classes of the alert role can be imported: no other test would notice a rename."""

from __future__ import annotations

from importlib import import_module

import pytest


@pytest.mark.parametrize(
    "name",
    ["counting", "detector", "informed", "peerrules", "promptness", "replay", "scale", "simulator", "volume"],
)
def test_a_benchmark_of_the_alert_role_can_be_imported(name: str) -> None:
    import_module(f"benchmarks.{name}")
