"""Fixtures: real services (one of each per run), the starter model, and helpers that several groups share."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from pipeline.service.logs import LIBRARIES
from tests.services.elasticsearch import ElasticsearchServer
from tests.services.kafka import Kafka
from tests.system import System

# How long an example takes says nothing here: machines are shared.
settings.register_profile("opinionwatch", deadline=None, print_blob=True)
settings.load_profile("opinionwatch")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test logged may be no UTF-8, on purpose; pytest-xdist could not send it from a worker."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes give a test no name: a header that holds a time would name it differently in each pytest-xdist worker."""
    return argname if isinstance(val, bytes) else None


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
    elasticsearch_server.empty()
    return elasticsearch_server.url


@pytest.fixture
def system(kafka_server: Kafka, empty_elasticsearch: str, tmp_path: Path) -> Iterator[System]:
    """A system of its own for each test."""
    made = System(kafka_server, empty_elasticsearch, tmp_path)
    made.cli("setup")
    yield made
    for worker in made.workers:
        worker.kill()
    made.store.close()


@pytest.fixture
def shared_data() -> Path:
    if not SHARED.exists():
        pytest.skip("the research data does not lie beside the checkout")
    return SHARED


@pytest.fixture(autouse=True)
def _levels_of_loggers_stay() -> Iterator[None]:
    """A command that a test runs in this process sets them for good: the next test would see less of the log."""
    names = [None, "pipeline", "opinionwatch", "models", *LIBRARIES]
    before = [(logging.getLogger(name), logging.getLogger(name).level) for name in names]
    yield
    for logger, level in before:
        logger.setLevel(level)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("OPINIONWATCH_") and name != "OPINIONWATCH_TEST_CACHE":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
