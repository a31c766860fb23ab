"""Settings under the names of the release before."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from pipeline.domain.errors import Fatal
from pipeline.settings.resolve import resolve

OLD = """
[alerts]
blind_after_s = 120.0
blind_share = 0.25
webhooks = [{name = "hook", url = "https://hooks.example/x"}]
channels = [{name = "log", kind = "log"}]

[[alerts.quiet]]
start = "22:00"
end = "07:00"

[[alerts.rules]]
keys = ["topic:*"]
watch = false
"""


def test_old_names_work_and_the_log_names_the_new_ones(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "old.toml"
    file.write_text(OLD)
    with caplog.at_level(logging.WARNING):
        alerts = resolve(file, environ={}).settings.alerts
    assert (alerts.no_data_after_s, alerts.no_data_share) == (120.0, 0.25)
    assert [override.watch for override in alerts.overrides] == [False]
    assert [hours.start.hour for hours in alerts.quiet_hours] == [22]
    assert [(c.name, c.kind) for c in alerts.channels] == [("hook", "webhook"), ("log", "log")]
    for old, new in [
        ("alerts.blind_after_s", "alerts.no_data_after_s"),
        ("alerts.blind_share", "alerts.no_data_share"),
        ("alerts.quiet", "alerts.quiet_hours"),
        ("alerts.rules", "alerts.overrides"),
        ("alerts.webhooks", "alerts.channels with kind = 'webhook'"),
    ]:
        assert f"setting {old} (from file {file}) is now called {new}" in caplog.text


def test_webhooks_from_the_environment_join_the_channels_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "new.toml"
    file.write_text('[[alerts.channels]]\nname = "log"\nkind = "log"\n')
    environ = {"OPINIONWATCH_ALERTS__WEBHOOKS": '[{"name": "hook", "url": "https://hooks.example/x"}]'}
    assert [c.name for c in resolve(file, environ=environ).settings.alerts.channels] == ["hook", "log"]


def test_the_environment_outranks_the_file_under_either_name(tmp_path: Path) -> None:
    file = tmp_path / "new.toml"
    file.write_text("[alerts]\nno_data_share = 0.9\n")
    environ = {"OPINIONWATCH_ALERTS__BLIND_SHARE": "0.1"}
    assert resolve(file, environ=environ).settings.alerts.no_data_share == pytest.approx(0.1)


def test_an_old_name_next_to_its_new_name_in_one_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "both.toml"
    file.write_text("[alerts]\nblind_share = 0.1\nno_data_share = 0.2\n")
    with pytest.raises(Fatal, match="alerts.blind_share and alerts.no_data_share"):
        resolve(file, environ={})


def test_a_wrong_value_under_an_old_name_is_refused_under_its_new_name(tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text("[alerts]\nblind_share = 7.0\n")
    with pytest.raises(Fatal, match=r"alerts\.no_data_share \(from file .*wrong.toml\)"):
        resolve(file, environ={})
