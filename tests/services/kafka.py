"""A real Kafka 4.3 broker (KRaft, one JVM), or three of them as a cluster."""

from __future__ import annotations

import base64
import socket
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path

from .artifacts import ServiceError, java_home, kafka_jars
from .process import ServiceProcess, free_port

_PROPERTIES = """
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
min.insync.replicas={insync}
offsets.topic.replication.factor={copies}
offsets.topic.num.partitions=3
transaction.state.log.replication.factor={copies}
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

    copies = 1

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        *,
        node: int = 1,
        controllers: Mapping[int, int] | None = None,
        cluster: str = "",
    ) -> None:
        """As `node` of a cluster it is given the ports of all `controllers`, and the cluster's id."""
        self.port = port or free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.data = folder / "data"
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "server.properties"
        java = [str(java_home(17) / "bin" / "java"), "-Xmx384m", "-cp", f"{kafka_jars()}/*"]
        if not config.exists():
            ports = controllers or {node: free_port()}
            config.write_text(
                _PROPERTIES.format(
                    node=node,
                    port=self.port,
                    controller=ports[node],
                    voters=",".join(f"{n}@127.0.0.1:{p}" for n, p in ports.items()),
                    data=self.data,
                    copies=len(ports),
                    insync=len(ports) // 2 + 1,
                )
            )
            # One in 64 ids starts with a dash and, as an argument of its own, would be read as an option.
            identity = f"--cluster-id={cluster or cluster_id()}"
            tool = [*java, "kafka.tools.StorageTool", "format", identity, "-c", str(config)]
            made = subprocess.run(tool, capture_output=True, text=True, timeout=60, check=False)
            if made.returncode:
                raise ServiceError(f"Kafka's storage could not be formatted:\n{made.stdout}{made.stderr}")
        self.process = ServiceProcess("Kafka", [*java, "kafka.Kafka", str(config)], folder / "kafka.log")

    def start(self) -> None:
        self.process.start(self.answers)

    def stop(self) -> None:
        self.process.kill()

    def answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            return False


class KafkaCluster:
    """Three nodes; each partition has three copies, two of which must have a record before it counts as written."""

    copies = 3

    def __init__(self, folder: Path) -> None:
        controllers, cluster = {n: free_port() for n in range(1, self.copies + 1)}, cluster_id()
        self.nodes = [Kafka(folder / str(n), node=n, controllers=controllers, cluster=cluster) for n in controllers]
        self.address = ",".join(node.address for node in self.nodes)

    def start(self) -> None:
        # None of them listens before two can vote.
        for node in self.nodes:
            node.process.launch()
        for node in self.nodes:
            node.process.wait(node.answers, 120)

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()


def cluster_id() -> str:
    """As Kafka writes one: 16 random bytes."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
