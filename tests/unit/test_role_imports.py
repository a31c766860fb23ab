"""A worker process loads only the client libraries that its role uses."""

from __future__ import annotations

import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.kafka.embedded import EmbeddedBroker
from pipeline.settings import KafkaSettings
from pipeline.store.sqlite.store import SqliteStore
from tests.services.process import ServiceProcess, free_port

CLIENTS = frozenset(
    {"faust", "aiokafka", "kafka", "confluent_kafka", "elasticsearch", "onnxruntime", "torch", "transformers"}
)
FAUST = frozenset({"faust", "aiokafka"})
LOADED = {
    "classify": FAUST | {"onnxruntime"},
    "alert": FAUST,
    "console": frozenset(),
    "all": FAUST | {"onnxruntime"},
}
_IMPORTED = re.compile(r"^import time:[^|]*\|[^|]*\|\s*(\w+)", re.MULTILINE)


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    made, kafka = EmbeddedBroker(), KafkaSettings()
    made.create([*kafka.topics, kafka.dead_topic, kafka.progress_topic, kafka.alerts_topic])
    yield made


def imported(role: str, broker: EmbeddedBroker, folder: Path) -> set[str]:
    """The top-level packages that a process has loaded from its start until it is ready and ends."""
    store = SqliteStore(folder / "store.sqlite")
    store.setup()
    store.close()
    port, log = free_port(), folder / "log"
    worker = ServiceProcess(
        role,
        [sys.executable, "-X", "importtime", "-c", "from pipeline.cli.main import main; main()", "run", role]
        + ["--metrics-port", str(port)],
        log,
        {
            **os.environ,
            "OPINIONWATCH_KAFKA__BOOTSTRAP_SERVERS": broker.address,
            "OPINIONWATCH_STORE__URL": f"sqlite:///{folder}/store.sqlite",
            "OPINIONWATCH_HTTP__CONSOLE_PORT": str(free_port()),
        },
    )

    def ready() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    worker.start(ready)
    assert worker.stop() == 0
    return set(_IMPORTED.findall(log.read_text(errors="replace")))


@pytest.mark.long
@pytest.mark.parametrize("role", LOADED)
def test_a_role_loads_the_clients_that_it_uses_and_no_others(role: str, broker: EmbeddedBroker, tmp_path: Path) -> None:
    found = imported(role, broker, tmp_path)
    assert {"pipeline", "aiohttp"} <= found, "the list of imports is complete"
    assert found & CLIENTS == LOADED[role]
