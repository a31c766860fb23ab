"""A real Kafka 4.3 broker (KRaft, one JVM)."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

from .artifacts import java_home, kafka_jars
from .process import ServiceProcess, free_port

_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=3
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
message.max.bytes=10100000
log.cleaner.dedupe.buffer.size=2097152
"""


class Kafka:
    """`address` is `host:port`; `process` can be stopped, killed and started again on the same data."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.port = port or free_port()
        self.address = f"127.0.0.1:{self.port}"
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "server.properties"
        fresh = not config.exists()
        if fresh:
            config.write_text(_PROPERTIES.format(port=self.port, controller=free_port(), data=folder / "data"))
        java = [str(java_home(17) / "bin" / "java"), "-Xmx384m", "-cp", f"{kafka_jars()}/*"]
        if fresh:
            tool = [*java, "kafka.tools.StorageTool"]
            cluster = subprocess.run([*tool, "random-uuid"], capture_output=True, text=True, check=True, timeout=60)
            subprocess.run(
                [*tool, "format", "--standalone", "-t", cluster.stdout.strip().splitlines()[-1], "-c", str(config)],
                capture_output=True, check=True, timeout=60,
            )  # fmt: skip
        self.process = ServiceProcess("Kafka", [*java, "kafka.Kafka", str(config)], folder / "kafka.log")

    def start(self) -> None:
        self.process.start(self._answers)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            return False
