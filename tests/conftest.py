"""Fixtures: real services (one of each per run), the starter model, and helpers that several groups share."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.elasticsearch import ElasticsearchServer
from tests.services.kafka import Kafka

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def kafka_server() -> Iterator[Kafka]:
    folder = Path(tempfile.mkdtemp(prefix="opinionwatch-kafka-"))
    server = Kafka(folder)
    server.start()
    yield server
    server.process.kill()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def elasticsearch_server() -> Iterator[ElasticsearchServer]:
    folder = Path(tempfile.mkdtemp(prefix="opinionwatch-es-"))
    server = ElasticsearchServer(folder)
    server.start()
    yield server
    server.process.kill()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def empty_elasticsearch(elasticsearch_server: ElasticsearchServer) -> str:
    """The URL of a server without our indices and templates."""
    url = elasticsearch_server.url
    with urllib.request.urlopen(f"{url}/_cat/indices/opinion-*?format=json&h=index", timeout=30) as answer:
        paths = [row["index"] for row in json.load(answer)]
    for path in [*paths, "_index_template/opinion-*"]:
        request = urllib.request.Request(f"{url}/{path}", method="DELETE")
        try:
            urllib.request.urlopen(request, timeout=30).close()
        except urllib.error.HTTPError as error:
            assert error.code == 404, error.read()
    return url


@pytest.fixture
def shared_data() -> Path:
    if not SHARED.exists():
        pytest.skip("the research data does not lie beside the checkout")
    return SHARED


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("OPINIONWATCH_") and name != "OPINIONWATCH_TEST_CACHE":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
