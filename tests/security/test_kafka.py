"""SASL_SSL to a real Kafka: each role of deploy/kafka/acls.sh does its work, nobody else gets in."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.elasticsearch import ElasticsearchServer
from tests.services.secure_kafka import SecureKafka, run_acls
from tests.system import PYTHON, System, drained, until

pytestmark = [pytest.mark.services, pytest.mark.timeout(400)]
SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "kafka" / "acls.sh"
USERS = ["opinionwatch-classify", "opinionwatch-alert", "opinionwatch-tools", "stranger"]


@pytest.fixture
def secured(
    elasticsearch_server: ElasticsearchServer, empty_elasticsearch: str, tmp_path: Path
) -> Iterator[tuple[System, SecureKafka]]:
    folder = Path(tempfile.mkdtemp(prefix="opinionwatch-secure-kafka-"))
    kafka = SecureKafka(folder, USERS, secrets.token_hex(12))
    kafka.start()
    system = System(kafka, empty_elasticsearch, tmp_path)
    env = system.env
    env |= {
        "OPINIONWATCH_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
        "OPINIONWATCH_KAFKA__SASL_MECHANISM": "PLAIN",
        "OPINIONWATCH_KAFKA__CA_FILE": str(kafka.ca_file),
        "OPINIONWATCH_KAFKA__PASSWORD": kafka.password,
    }
    topics = {name: env[f"OPINIONWATCH_KAFKA__{name}_TOPIC"] for name in ("DEAD", "PROGRESS", "ALERTS")}
    run_acls(SCRIPT, kafka, {**topics, "TOPICS": system.topic, "GROUP": env["OPINIONWATCH_KAFKA__GROUP"]})
    yield system, kafka
    for worker in system.workers:
        worker.kill()
    system.store.close()
    kafka.process.kill()
    shutil.rmtree(folder, ignore_errors=True)


def test_each_role_works_over_tls_and_nobody_else_gets_in(secured: tuple[System, SecureKafka]) -> None:
    system, kafka = secured
    user = "OPINIONWATCH_KAFKA__USERNAME"
    system.env[user] = "opinionwatch-tools"
    assert "created" in system.cli("setup")
    system.run("classify", **{user: "opinionwatch-classify"})
    system.run("alert", **{user: "opinionwatch-alert"})
    posts = [{"v": 1, "id": str(i), "source": "s", "text": f"post {i}"} for i in range(200)]
    assert system.ingest([*posts, {"no": "post"}])["rejected"] == 1
    until(drained(system, len(posts)), 60)
    assert system.status()["indexed"] == len(posts)
    system.env[user] = "stranger"
    system.cli("check", code=78)
    system.env[user] = "opinionwatch-alert"
    system.cli("ingest", str(system.folder / "posts.jsonl"), "--topic", system.topic, code=78)
    system.env[user], system.env["OPINIONWATCH_KAFKA__PASSWORD"] = "opinionwatch-tools", "not the password"
    refused = subprocess.run(
        [*PYTHON, "check", "--json"], env=system.env, capture_output=True, text=True, timeout=120, check=False
    )
    assert refused.returncode == 78
    assert "not the password" not in refused.stdout + refused.stderr
    [row] = [row for row in json.loads(refused.stdout) if row["name"] == "kafka"]
    assert not row["ok"]
    assert "kafka.password" in row["remedy"]
    assert kafka.password not in system.logs()
