"""One row with one seed: a system of its own, what the row does to it, and what is found afterwards."""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.structs import OffsetAndMetadata

from pipeline.domain.post import document_id
from pipeline.kafka import admin, dead_letters
from tests.builders import START
from tests.chaos.oracle import Corpus, Finding, corpus, examine, kafka_of, lag, produce, produce_what_is_taken
from tests.chaos.proxy import Proxy
from tests.services.elasticsearch import ElasticsearchServer
from tests.services.kafka import Kafka, KafkaCluster
from tests.services.process import ServiceProcess, free_port
from tests.system import System, until

DRAIN_S = 120.0
BATCH = 512


class TrialError(AssertionError):
    """What must hold did not."""


class Worker(ServiceProcess):
    """A `tests.chaos.worker` process."""

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None


class Trial:
    """What the plays of `rows.py` may do; `short` and `outage_s` bound the long ones."""

    def __init__(
        self,
        kafka: Kafka | KafkaCluster,
        elasticsearch: ElasticsearchServer,
        folder: Path,
        seed: int,
        *,
        short: bool = True,
    ) -> None:
        self.kafka, self._elasticsearch, self.folder = kafka, elasticsearch, folder
        self.short, self.outage_s = short, 10.0 if short else 60.0
        elasticsearch.empty()
        self.system = System(kafka, elasticsearch.url, folder)
        self.system.cli("setup")
        self.workers: list[Worker] = []
        self.closing: list[Callable[[], object]] = []
        self.notes: dict[str, Any] = {}
        self._seed, self.sent = seed, list[Corpus]()
        self._next = 0
        self._cured_at: float | None = None
        self._recovered_s: float | None = None

    @property
    def broker(self) -> Kafka:
        """The only broker of a trial without a cluster."""
        assert isinstance(self.kafka, Kafka)
        return self.kafka

    @property
    def cluster(self) -> KafkaCluster:
        """The brokers of a trial with a cluster."""
        assert isinstance(self.kafka, KafkaCluster)
        return self.kafka

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
        for close in self.closing:
            close()
        self.system.store.close()

    def settings(self, **values: str) -> None:
        """For workers started from now on, e.g. `FLOW__DEAD_LETTER_LIMIT="50"`."""
        self.system.env.update({f"OPINIONWATCH_{k}": v for k, v in values.items()})

    def worker(self, **faults: Any) -> Worker:
        """Starts a classify worker and waits until it is ready."""
        port = free_port()
        made = self._made(port, faults)
        made.start(lambda: self.system.is_ready(port))
        return made

    def starting(self, says: str, *, module: str = "tests.chaos.worker", **faults: Any) -> Worker:
        """Starts a worker and waits until its /readyz says this."""
        port = free_port()
        made = self._made(port, faults, module)
        made.start(lambda: says in self.system.readiness(port))
        return made

    def end(self, worker: Worker, state: str) -> None:
        """SIGTERM, which must end it with 0 within 10 seconds."""
        started = time.monotonic()
        code = worker.stop()
        took = time.monotonic() - started
        self.note(state, took)
        self.require(code == 0 and took <= 10, f"{state}: exit {code} after {took:.1f} s: {self.logs()[-800:]}")

    def try_worker(self) -> int:
        """Starts a worker that should refuse; its exit code."""
        made = self._made(free_port(), {})
        made.start(lambda: True)
        return made.exit_code(60)

    def process(self, module: str, arguments: list[str], faults: dict[str, Any]) -> Worker:
        """A worker of another kind, which says nothing of when it is ready."""
        made = self._process(module, arguments, faults)
        made.start(lambda: True)
        return made

    def _made(self, port: int, faults: dict[str, Any], module: str = "tests.chaos.worker") -> Worker:
        return self._process(module, ["run", "classify", "--metrics-port", str(port)], faults)

    def _process(self, module: str, arguments: list[str], faults: dict[str, Any]) -> Worker:
        command = [sys.executable, "-m", module, *arguments]
        root = str(Path(__file__).resolve().parents[2])
        env = {**self.system.env, "CHAOS_FAULTS": json.dumps(faults), "PYTHONPATH": root}
        made = Worker("worker", command, self.folder / f"worker{len(self.workers)}.log", env)
        self.workers.append(made)
        return made

    def expect_exit(self, worker: ServiceProcess, code: int, within_s: float = 60) -> None:
        got = worker.exit_code(within_s)
        self.require(got == code, f"exit {got}, {code} expected: {self.logs()[-600:]}")

    def send(self, n: int, *, poisons: float = 0.001, kept: bool = True) -> None:
        """More records of the corpus; with `kept` False they are deleted before anybody reads them."""
        sent = corpus(self._seed + self._next, n, start=self._next, poisons=poisons)
        self._next += n
        produce(self.system, sent)
        if kept:
            self.sent.append(sent)

    def next_corpus(self, n: int) -> Corpus:
        """More records of the corpus, which the row itself sends; without poisons."""
        made = corpus(self._seed + self._next, n, start=self._next, poisons=0.0)
        self._next += n
        self.sent.append(made)
        return made

    def send_to_a_sick_broker(self, n: int, within_s: float) -> Corpus:
        """Posts of which the broker may take some; without poisons."""
        wanted = corpus(self._seed + self._next, n, start=self._next, poisons=0.0)
        self._next += n
        sent = produce_what_is_taken(self.system, wanted.values, within_s)
        self.sent.append(sent)
        return sent

    def send_raw(self, values: list[bytes]) -> None:
        """Records that are no posts."""
        sent = Corpus(values, frozenset(), len(values))
        produce(self.system, sent)
        self.sent.append(sent)

    def send_compressed(self, n: int, codec: str) -> None:
        """More records of the corpus, by a producer that compresses them so."""
        sent = corpus(self._seed + self._next, n, start=self._next)
        self._next += n
        client = KafkaProducer(bootstrap_servers=self.kafka.address, acks="all", linger_ms=50, compression_type=codec)
        for value in sent.values:
            client.send(self.system.topic, value)
        client.flush(30)
        client.close()
        self.sent.append(sent)

    def send_bomb(self, records: int, size: int, codec: str) -> None:
        """Records of nothing but zeros in one batch, which compresses to next to nothing."""
        client = Producer(
            {
                "bootstrap.servers": self.kafka.address, "message.max.bytes": 1_000_000_000, "linger.ms": 3000,
                "batch.size": 1_000_000_000, "queue.buffering.max.kbytes": 2_000_000, "compression.type": codec,
            }
        )  # fmt: skip
        for _ in range(records):
            client.produce(self.system.topic, bytes(size), partition=0)
        client.flush(60)
        self.sent.append(Corpus([b""] * records, frozenset(), records))

    def send_elsewhere(self, topic: str, n: int) -> None:
        """Posts of the corpus into another source topic."""
        sent = corpus(self._seed + self._next, n, start=self._next)
        self._next += n
        with admin.producer(kafka_of(self.system)) as send:
            for value in sent.values:
                send(topic, value)
        self.sent.append(sent)

    def send_posts(self, posts: list[dict[str, Any]], *, rejected: set[str]) -> None:
        """Posts of the row's own; those of `rejected` (native ids) must not be indexed."""
        ids = frozenset(document_id(p["source"], p["id"]) for p in posts if p["id"] not in rejected)
        sent = Corpus([json.dumps(p).encode() for p in posts], ids, len(rejected))
        produce(self.system, sent)
        self.sent.append(sent)

    def send_odd(self, posts: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
        """Posts, all of which must be indexed, each with the `headers` or the `timestamp` of its record."""
        client = Producer({"bootstrap.servers": self.kafka.address})
        refused: list[Any] = []
        for post, record in posts:
            value = json.dumps(post).encode()
            client.produce(
                self.system.topic, value, on_delivery=lambda error, _: error and refused.append(error), **record
            )
        client.flush(30)
        self.require(not refused, f"the broker takes them: {refused}")
        ids = frozenset(document_id(post["source"], post["id"]) for post, _ in posts)
        self.sent.append(Corpus([json.dumps(post).encode() for post, _ in posts], ids, 0))

    def cured(self) -> None:
        """From here on the time to recovery counts."""
        self._cured_at = time.monotonic()

    def drain(self) -> None:
        """Until everything is committed; notes the recovery."""
        deadline = time.monotonic() + DRAIN_S
        while True:
            left = lag(self.system)
            if left < BATCH and self._cured_at is not None and self._recovered_s is None:
                self._recovered_s = time.monotonic() - self._cured_at
            if left == 0:
                return
            if time.monotonic() > deadline:
                raise TrialError(f"{left} records are not committed after {DRAIN_S} s: {self.logs()[-1500:]}")
            time.sleep(0.3)

    def finish(self) -> tuple[Finding, float]:
        """What is found at the end, and the seconds to recovery."""
        self.drain()
        deadline = 0.0
        while not (found := examine(self.system, *self.sent)).clean:
            # From the first look on: of a million posts one takes longer than that.
            deadline = deadline or time.monotonic() + 10
            if time.monotonic() > deadline:
                break
            time.sleep(0.5)
        return found, self._recovered_s or 0.0

    @staticmethod
    def wait_for(true: Callable[[], bool], seconds: float) -> None:
        until(true, seconds)

    def require(self, holds: bool, what: str) -> None:
        if not holds:
            raise TrialError(what)

    def note(self, name: str, value: Any) -> None:
        self.notes[name] = round(value, 2) if isinstance(value, float) else value

    def lag(self) -> int:
        return lag(self.system)

    def dead(self) -> int:
        return len({x.origin for x in dead_letters.dead_letters(kafka_of(self.system))})

    def logs(self) -> str:
        return "".join(f.read_text(errors="replace") for f in sorted(self.folder.glob("worker*.log")))

    def counts(self) -> list[Any]:
        from datetime import timedelta

        from pipeline.domain.counting import NegativeDefinition

        self.system.store.refresh()
        return self.system.store.counts(START - timedelta(days=30), START + timedelta(days=30), NegativeDefinition())

    @staticmethod
    def memory_mb(worker: ServiceProcess) -> float:
        pages = int(Path(f"/proc/{worker.pid}/statm").read_text().split()[1])
        return pages * 4096 / 1e6

    @staticmethod
    def peak_memory_mb(worker: ServiceProcess) -> float:
        status = Path(f"/proc/{worker.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1e3

    @contextmanager
    def proxy(self, script: Callable[[int], str], largest: int = 1 << 30) -> Iterator[Proxy]:
        """The workers started inside reach the store through a proxy."""
        with Proxy(self._elasticsearch.url, script, largest) as proxy:
            self.settings(STORE__URL=proxy.url)
            yield proxy
            for worker in self.workers:
                worker.stop()
        self.settings(STORE__URL=self._elasticsearch.url)

    def store_put(self, path: str, body: dict[str, Any]) -> None:
        self._request("PUT", path, body)

    def store_delete(self, path: str) -> None:
        self._request("DELETE", path)

    def indices(self, pattern: str) -> list[str]:
        found = self._request("GET", f"_cat/indices/{pattern}?format=json&h=index")
        return [row["index"] for row in found or ()]

    def _request(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        url, headers = f"{self._elasticsearch.url}/{path}", {"Content-Type": "application/json"}
        try:
            request = urllib.request.Request(url, data, headers, method=method)
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise TrialError(f"{method} {path}: {error.code} {error.read()[:300]!r}") from None

    def reset_offsets(self) -> None:
        """The group reads everything again."""
        kafka = kafka_of(self.system)
        consumer = KafkaConsumer(
            bootstrap_servers=kafka.bootstrap_servers, group_id=f"{kafka.group}-classify", enable_auto_commit=False
        )
        parts = [TopicPartition(self.system.topic, p) for p in consumer.partitions_for_topic(self.system.topic) or ()]
        consumer.assign(parts)
        consumer.commit({tp: OffsetAndMetadata(0, "", -1) for tp in parts})
        consumer.close()

    def larger_records(self, size_bytes: int) -> None:
        """The source topic takes records of this size from now on; the dead-letter topic does not."""
        client = KafkaAdminClient(bootstrap_servers=self.kafka.address)
        client.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, self.system.topic, {"max.message.bytes": str(size_bytes)})]
        )
        client.close()

    def delete_records(self) -> None:
        """As retention does it: everything up to the end is gone."""
        kafka = kafka_of(self.system)
        client = KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
        ends = {TopicPartition(t, p): end for t, p, _, end in admin.offsets(kafka)}
        client.delete_records(ends)
        client.close()
