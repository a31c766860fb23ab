"""The brokers and the index of a run of the table; each starts when a row first asks for it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.services.elasticsearch import ElasticsearchServer
from tests.services.kafka import Kafka, KafkaCluster

SMALL_DISK = "96m"


class Services:
    """`broker(kind)` is that of a row; `close` stops what was started here."""

    def __init__(self, kafka: Kafka | None = None, elasticsearch: ElasticsearchServer | None = None) -> None:
        self._brokers: dict[str, Kafka | KafkaCluster] = {"one": kafka} if kafka else {}
        self._elasticsearch = elasticsearch
        self._given = {id(kafka), id(elasticsearch)}
        self._folders: list[Path] = []
        self._mounted: list[Path] = []

    @property
    def elasticsearch(self) -> ElasticsearchServer:
        if self._elasticsearch is None:
            self._elasticsearch = ElasticsearchServer(self._folder("index"))
            self._elasticsearch.start()
        return self._elasticsearch

    def broker(self, kind: str) -> Kafka | KafkaCluster:
        if kind not in self._brokers:
            # Three more JVMs beside a broker, an index and the workers: only what the row needs runs.
            self._stop_brokers()
            made = self._made(kind)
            made.start()
            self._brokers[kind] = made
        return self._brokers[kind]

    def close(self) -> None:
        self._stop_brokers()
        if self._elasticsearch and id(self._elasticsearch) not in self._given:
            self._elasticsearch.process.kill()
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)

    def _made(self, kind: str) -> Kafka | KafkaCluster:
        folder = self._folder(kind.replace(" ", "-"))
        if kind == "three":
            return KafkaCluster(folder)
        if kind == "small disk":
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", str(folder)], check=True)
            self._mounted.append(folder)
        return Kafka(folder)

    def _stop_brokers(self) -> None:
        for kind, broker in list(self._brokers.items()):
            if id(broker) not in self._given:
                broker.stop()
                del self._brokers[kind]
        for folder in self._mounted:
            subprocess.run(["umount", "-l", str(folder)], check=False)
        self._mounted.clear()

    def _folder(self, name: str) -> Path:
        folder = Path(tempfile.mkdtemp(prefix=f"chaos-{name}-"))
        self._folders.append(folder)
        return folder
