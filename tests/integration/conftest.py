"""A system of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.kafka import Kafka
from tests.system import System


@pytest.fixture
def system(kafka_server: Kafka, empty_elasticsearch: str, tmp_path: Path) -> Iterator[System]:
    made = System(kafka_server, empty_elasticsearch, tmp_path)
    made.cli("setup")
    yield made
    for worker in made.workers:
        worker.kill()
    made.store.close()
