"""A short, seeded part of the fault table; `make chaos` runs all of it."""

from __future__ import annotations

import pytest

from tests.chaos.__main__ import run_row
from tests.chaos.rows import ROWS, Row
from tests.chaos.services import Services
from tests.services.elasticsearch import ElasticsearchServer
from tests.services.kafka import Kafka

SEED = 7


@pytest.mark.services
@pytest.mark.timeout(300)
@pytest.mark.parametrize("row", [r for r in ROWS if not r.long], ids=lambda r: f"row {r.number}: {r.title}")
def test_nothing_is_lost_nothing_is_doubled(
    row: Row, kafka_server: Kafka, elasticsearch_server: ElasticsearchServer
) -> None:
    found = run_row(row, Services(kafka_server, elasticsearch_server), SEED)
    assert found["clean"], found
