"""What `deploy/` holds is valid, and every panel and rule has something to show on a running demo."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.services.debian import program
from tests.services.process import ServiceProcess, free_port

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
pytestmark = pytest.mark.services


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def test_prometheus_and_alertmanager_accept_their_files() -> None:
    for command in (
        [program("promtool", "prometheus"), "check", "config", "prometheus/prometheus.yml"],
        [program("amtool", "prometheus-alertmanager"), "check-config", "alertmanager/alertmanager.yml"],
    ):
        done = subprocess.run(command, cwd=DEPLOY, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_first_refusal_and_an_alert_that_nobody_heard_of_are_seen(tmp_path: Path) -> None:
    """`increase` of a counter that is there from the start sees its first event."""
    refused = 'opinionwatch_notifications_total{channel="oncall", outcome="refused"}'
    series = [
        {"series": refused, "values": "0x10 1x80"},
        {"series": 'opinionwatch_notifications_pending{channel="oncall"}', "values": "0x10 3x80"},
        {"series": "opinionwatch_alerts_unnotified", "values": "0x10 1x80"},
    ]
    names = ("OpinionwatchNotificationsRefused", "OpinionwatchNotificationsPending", "OpinionwatchNobodyNotified")

    def at(minutes: int, *, fires: bool) -> list[dict[str, Any]]:
        expected = [
            {"exp_labels": {"severity": "critical"} | ({} if name == names[2] else {"channel": "oncall"})}
            | (
                {"exp_labels": {"severity": "critical", "channel": "oncall", "outcome": "refused"}}
                if name == names[0]
                else {}
            )
            for name in names
        ]
        return [
            {"eval_time": f"{minutes}m", "alertname": name, "exp_alerts": [alert] if fires else []}
            for name, alert in zip(names, expected, strict=True)
        ]

    rules = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())
    for rule in rules["groups"][0]["rules"]:
        rule.pop("annotations")
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
    test = {"input_series": series, "interval": "1m", "alert_rule_test": [*at(10, fires=False), *at(20, fires=True)]}
    (tmp_path / "test.yml").write_text(yaml.safe_dump({"rule_files": ["rules.yml"], "tests": [test]}))
    command = [program("promtool", "prometheus"), "test", "rules", "test.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_compose_names_only_files_and_commands_that_exist() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    for name, service in compose["services"].items():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert not source.startswith("./") or (DEPLOY / source).exists(), (name, source)
        if "build" in service:
            assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).exists()
            assert service["command"][0] in {"setup", "run"}


@pytest.mark.timeout(300)
def test_every_panel_and_rule_works_on_a_prometheus_that_scrapes_the_demo(tmp_path: Path) -> None:
    port, prometheus_port = free_port(), free_port()
    config = {
        "global": {"scrape_interval": "1s"},
        "rule_files": [str(DEPLOY / "prometheus" / "rules.yml")],
        "scrape_configs": [{"job_name": "opinionwatch", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}],
    }
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    demo = ServiceProcess(
        "demo",
        [sys.executable, "-c", "from pipeline.cli.main import main; main()", "demo", "--json", "--port", str(port)],
        tmp_path / "demo.log",
    )
    prometheus = ServiceProcess(
        "prometheus",
        [
            program("prometheus", "prometheus"),
            f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address=127.0.0.1:{prometheus_port}",
        ],
        tmp_path / "prometheus.log",
    )

    def answers(url: str) -> bool:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            return False
        return True

    try:
        demo.start(lambda: answers(f"http://127.0.0.1:{port}/readyz"), timeout_s=60)
        prometheus.start(lambda: answers(f"http://127.0.0.1:{prometheus_port}/-/ready"))
        deadline = time.monotonic() + 150
        while not any(a["first_notified_at"] for a in get(f"http://127.0.0.1:{port}/api/alerts")):
            assert time.monotonic() < deadline, "no alert in the demo"
            time.sleep(1)
        time.sleep(3)
        api = f"http://127.0.0.1:{prometheus_port}/api/v1"
        dashboard = json.loads((DEPLOY / "grafana" / "dashboards" / "opinionwatch.json").read_text())
        empty = []
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                answer = get(f"{api}/query?" + urllib.parse.urlencode({"query": target["expr"]}))
                if not answer["data"]["result"]:
                    empty.append((panel["title"], target["expr"]))
        # Nothing is retried in a healthy demo.
        assert {title for title, _ in empty} <= {"Retries per second"}
        rules = [rule for group in get(f"{api}/rules")["data"]["groups"] for rule in group["rules"]]
        assert len(rules) >= 6
        assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
        assert not [rule["lastError"] for rule in rules if rule.get("lastError")]
    finally:
        prometheus.kill()
        demo.kill()
