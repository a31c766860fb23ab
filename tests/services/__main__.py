"""`python -m tests.services up|down`: the test services for a person, on the usual ports."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

from .artifacts import cache, say
from .elasticsearch import ElasticsearchServer
from .kafka import Kafka

KAFKA_PORT, ELASTICSEARCH_PORT = 29092, 19200


def up(folder: Path) -> None:
    """Starts both, or says where they are."""
    kafka, elasticsearch = Kafka(folder / "kafka", KAFKA_PORT), ElasticsearchServer(folder / "es", ELASTICSEARCH_PORT)
    for service, name in ((kafka, "Kafka"), (elasticsearch, "Elasticsearch")):
        say(f"starting {name}: up to a minute ...")
        service.start()
    (folder / "pids").write_text(f"{kafka.process.pid} {elasticsearch.process.pid}")
    print(f"Kafka {kafka.address}, Elasticsearch {elasticsearch.url}; point opinionwatch at them:")
    print(f"  export OPINIONWATCH_KAFKA__BOOTSTRAP_SERVERS={kafka.address}")
    print(f"  export OPINIONWATCH_STORE__URL={elasticsearch.url}")


def down(folder: Path) -> None:
    """Stops both and removes their data."""
    pids = folder / "pids"
    for pid in pids.read_text().split() if pids.exists() else ():
        try:
            os.killpg(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            continue
    shutil.rmtree(folder, ignore_errors=True)
    print("stopped")


if __name__ == "__main__":
    {"up": up, "down": down}[sys.argv[1]](cache() / "services")
