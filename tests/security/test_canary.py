"""A canary in every setting that takes a secret, and a crash in each stage: it is found in no log, record or page."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from pipeline.demo.feed import CRISIS, generate
from pipeline.kafka import admin, dead_letters
from pipeline.settings import ChannelSettings, Settings
from tests.chaos.oracle import kafka_of
from tests.services.elasticsearch import ElasticsearchServer
from tests.services.kafka import Kafka
from tests.services.process import ServiceProcess, free_port
from tests.system import PYTHON, System, drained, until

pytestmark = [pytest.mark.services, pytest.mark.timeout(400)]
CANARY = "canary-3f9d1c7e"
ROOT = Path(__file__).resolve().parents[2]


def secrets_of(model: type[BaseModel], prefix: str = "") -> set[str]:
    """Dotted names of every secret of the settings, those of list entries with []."""
    found: set[str] = set()
    for name, field in model.model_fields.items():
        kind: Any = field.annotation
        if kind is SecretStr:
            found.add(prefix + name)
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= secrets_of(kind, f"{prefix}{name}.")
        for inner in (ChannelSettings,):
            if kind == list[inner]:  # type: ignore[valid-type]
                found |= secrets_of(inner, f"{prefix}{name}[].")
    return found


def with_canaries(system: System) -> None:
    """Everything goes on working: the services here ask for no password, and the channels fail."""
    closed = f"http://127.0.0.1:{free_port()}"
    channels: list[dict[str, Any]] = [
        {"name": kind, "kind": kind, "url": f"{closed}/{CANARY}", "secret": CANARY}
        for kind in ("slack", "dingtalk", "feishu", "wecom", "webhook", "alertmanager")
    ]
    mail: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": free_port(),
        "sender": "a@b.example",
        "to": ["a@b.example"],
        "username": "u",
    }
    channels.append({"name": "mail", "kind": "email", "secret": CANARY, "tls": "none", **mail})
    system.env |= {
        "OPINIONWATCH_KAFKA__USERNAME": "u",
        "OPINIONWATCH_KAFKA__PASSWORD": CANARY,
        "OPINIONWATCH_STORE__URL": system.env["OPINIONWATCH_STORE__URL"].replace("http://", "http://u@"),
        "OPINIONWATCH_STORE__PASSWORD": CANARY,
        "OPINIONWATCH_ALERTS__WEBHOOKS": json.dumps(
            [{"name": "hook", "url": f"{closed}?token={CANARY}", "secret": CANARY, "allow_private": True}]
        ),
        "OPINIONWATCH_ALERTS__CHANNELS": json.dumps([{**c, "allow_private": True} for c in channels]),
    }


def every_output(system: System, *arguments: str) -> str:
    done = subprocess.run(
        [*PYTHON, *arguments], env=system.env, capture_output=True, text=True, timeout=120, check=False
    )
    return done.stdout + done.stderr


def test_the_canary_sits_in_every_secret_that_there_is() -> None:
    """Fails when a secret is added that the test below does not set."""
    assert secrets_of(Settings) == {
        "kafka.password", "store.password", "alerts.channels[].url", "alerts.channels[].secret",
    }  # fmt: skip


def test_no_secret_is_found_anywhere(system: System) -> None:
    with_canaries(system)
    said = every_output(system, "config", "show") + every_output(system, "check")
    assert "**********" in said
    metrics, console = free_port(), free_port()
    arguments = ["run", "all", "--metrics-port", str(metrics), "--port", str(console)]
    worker = ServiceProcess("all", [*PYTHON, *arguments], system.folder / "all.log", system.env)
    worker.start(lambda: System.is_ready(metrics))
    system.workers.append(worker)
    posts = [json.loads(i.value) for i in generate() if (CRISIS - i.at).days < 9 and b"\xff" not in i.value]
    system.ingest(posts)
    with admin.producer(kafka_of(system)) as send:
        send(system.topic, b"{no json")
    until(drained(system, len(posts) + 1), 240)
    until(lambda: "channel mail did not send" in system.logs() and "hook" in system.logs(), 120)
    for page in ("metrics", "readyz", "livez"):
        said += urllib.request.urlopen(f"http://127.0.0.1:{metrics}/{page}", timeout=10).read().decode()
    for page in ("", "api/status", "api/alerts", "api/shares", "api/search?q=nova"):
        said += urllib.request.urlopen(f"http://127.0.0.1:{console}/{page}", timeout=30).read().decode()
    for channel in ("hook", "slack", "dingtalk", "feishu", "wecom", "webhook", "alertmanager", "mail"):
        told = every_output(system, "alerts", "test-channel", channel)
        assert channel in told or "cannot" in told, told
        said += told
    for faults in ({"classifier_raises": 1}, {"memory_for": 0}):
        said += crashed(system, faults)
    system.env |= {"OPINIONWATCH_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT"}
    said += every_output(system, "status") + every_output(system, "dead", "list")
    system.env |= {"OPINIONWATCH_KAFKA__SECURITY_PROTOCOL": "PLAINTEXT"}
    letters = list(dead_letters.dead_letters(kafka_of(system)))
    assert letters
    said += "".join(str(x) for x in letters) + json.dumps([alert.to_json() for alert in system.store.alerts()])
    assert CANARY not in said
    assert CANARY not in system.logs()


def crashed(system: System, faults: dict[str, Any]) -> str:
    """What a worker leaves that dies of a bug, or of too little memory."""
    command = [sys.executable, "-m", "tests.chaos.worker", "run", "classify", "--metrics-port", "0"]
    log = system.folder / f"crash-{next(iter(faults))}.log"
    env = {**system.env, "CHAOS_FAULTS": json.dumps(faults), "PYTHONPATH": str(ROOT)}
    for worker in system.workers:
        worker.stop()
    worker = ServiceProcess("worker", command, log, env)
    worker.start(lambda: True)
    # So many, since a bug that few records meet costs these records and not the worker.
    texts = [f"one more {faults} {number}" for number in range(30)]
    system.ingest([{"v": 1, "id": text, "source": "s", "text": text} for text in texts])
    assert worker.exit_code(90) in {70, 78}
    return log.read_text(errors="replace")


def test_a_wrong_password_is_not_repeated(
    elasticsearch_server: ElasticsearchServer, kafka_server: Kafka, tmp_path: Path
) -> None:
    """The servers that refuse it are asked in test_roles and test_kafka; here nobody answers."""
    system = System(kafka_server, f"http://u@127.0.0.1:{free_port()}", tmp_path)
    system.env |= {"OPINIONWATCH_STORE__PASSWORD": CANARY, "OPINIONWATCH_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    for command in (("check",), ("setup",), ("run", "classify"), ("status",)):
        told = every_output(system, *command)
        assert told
        assert CANARY not in told
