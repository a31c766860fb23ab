"""One opinionwatch on real services: its topics and indices, its settings, its command line and its workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.demo.phrases import SUBJECTS
from pipeline.store.elasticsearch.store import ElasticsearchStore
from tests.services.kafka import Kafka, KafkaCluster
from tests.services.process import ServiceProcess, free_port

PYTHON = [sys.executable, "-c", "from pipeline.cli.main import main; main()"]


class System:
    """One set of topics and indices, its settings in the environment, and the command line on them."""

    def __init__(self, kafka: Kafka | KafkaCluster, elasticsearch_url: str, folder: Path) -> None:
        tag = uuid.uuid4().hex[:8]
        self.folder, self.topic = folder, f"{tag}.forum"
        self.env = {
            **os.environ,
            "OPINIONWATCH_KAFKA__BOOTSTRAP_SERVERS": kafka.address,
            "OPINIONWATCH_KAFKA__TOPICS": json.dumps([self.topic]),
            "OPINIONWATCH_KAFKA__DEAD_TOPIC": f"{tag}.dead",
            "OPINIONWATCH_KAFKA__PROGRESS_TOPIC": f"{tag}.progress",
            "OPINIONWATCH_KAFKA__ALERTS_TOPIC": f"{tag}.alerts",
            "OPINIONWATCH_KAFKA__GROUP": tag,
            "OPINIONWATCH_KAFKA__REPLICATION": str(kafka.copies),
            "OPINIONWATCH_KAFKA__SESSION_TIMEOUT_S": "6",
            "OPINIONWATCH_STORE__URL": elasticsearch_url,
            "OPINIONWATCH_ALERTS__IDLE_S": "4",
            "OPINIONWATCH_SUBJECTS": json.dumps(SUBJECTS),
        }
        self.store = ElasticsearchStore(elasticsearch_url)
        self.workers: list[ServiceProcess] = []

    def cli(self, *arguments: str, code: int = 0, timeout_s: float = 120) -> Any:
        """Runs a command; its JSON, or its text."""
        done = subprocess.run(
            [*PYTHON, *arguments], env=self.env, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stderr[-2000:]}"
        return json.loads(done.stdout) if "--json" in arguments else done.stdout

    def run(self, role: str, name: str = "", **env: str) -> ServiceProcess:
        """Starts a worker, whose log is `name` (or `role`), and waits until it is ready."""
        port = free_port()
        arguments = ["run", role, "--metrics-port", str(port), "--port", "0"]
        log = self.folder / f"{name or role}.log"
        worker = ServiceProcess(role, [*PYTHON, *arguments], log, {**self.env, **env})
        worker.start(lambda: self.is_ready(port))
        self.workers.append(worker)
        return worker

    @staticmethod
    def is_ready(port: int) -> bool:
        return System.readiness(port) == "ready\n"

    @staticmethod
    def readiness(port: int) -> str:
        """What a worker says of itself; empty where nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return error.read().decode()
        except OSError:
            return ""

    def ingest(self, posts: list[dict[str, Any]]) -> dict[str, Any]:
        file = self.folder / "posts.jsonl"
        file.write_text("".join(json.dumps(p, ensure_ascii=False) + "\n" for p in posts))
        return dict(self.cli("ingest", str(file), "--topic", self.topic, "--json"))

    def status(self) -> dict[str, Any]:
        return dict(self.cli("status", "--json"))

    def logs(self) -> str:
        return "".join(file.read_text(errors="replace") for file in self.folder.glob("*.log"))


def until(true: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.5)


def drained(system: System, posts: int) -> Callable[[], bool]:
    def done() -> bool:
        state = system.status()
        return bool(state["lag"] == 0 and state["consumed"] >= posts)

    return done
