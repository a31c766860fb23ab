"""Rows 40 to 46: which log a topic is, and what is left of it."""

from __future__ import annotations

import json
import random
import re
import time
import urllib.request
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from pipeline.domain.post import document_id
from pipeline.service.status import from_store
from tests.chaos.oracle import Corpus, kafka_of, produce
from tests.chaos.trial import Trial, Worker
from tests.services.kafka import Kafka
from tests.services.process import free_port


def transactions(t: Trial, rng: random.Random) -> None:
    t.worker()
    for number in range(6):
        transaction(t, 300 + number, "commit")
        transaction(t, rng.randint(1, 200), "abort")
        t.send(rng.randint(1, 50))
    t.cured()
    t.drain()
    _at_rest(t)
    aborted = [d for d in t.system.store.documents(*_ever()) if "ABORTED" in d.post.text]
    t.require(not aborted, f"{len(aborted)} aborted records are indexed")


def topic_created_again(t: Trial, rng: random.Random) -> None:
    running = rng.random() < 0.5
    worker = t.worker()
    t.send(rng.randint(500, 2000))
    t.drain()
    if not running:
        t.require(worker.stop() == 0, "stopped")
    _again(t)
    t.send(rng.randint(300, 1000))
    if running:
        # The former topic's offsets mean nothing in this one: it ends rather than guess.
        t.require(worker.exit_code(60) in {69, 70}, f"a code says so: {t.logs()[-600:]}")
    t.cured()
    t.worker()
    t.drain()
    _at_rest(t)


def topic_retired(t: Trial, rng: random.Random) -> None:
    former, other = t.system.topic, f"{t.system.topic}-2"
    _create(t, other)
    t.settings(KAFKA__TOPICS=json.dumps([former, other]))
    worker = t.worker()
    t.send(rng.randint(500, 1500))
    t.drain()
    waits = rng.random() < 0.5
    if waits:
        worker.kill()
        t.send(200, kept=False)
    t.system.topic = other
    t.send(500)
    t.settings(KAFKA__TOPICS=json.dumps([other]))
    worker.kill()
    t.cured()
    t.worker()
    t.drain()
    _at_rest(t)
    said = t.system.status()
    t.require(said["retired"] == [former], f"status names it: {said}")
    _evaluates(t)


def deleted_under_a_worker(t: Trial, rng: random.Random) -> None:
    choice = rng.choice(["stop", "skip"])
    t.settings(KAFKA__ON_DELETED=choice)
    ids = [f"d{i}" for i in range(6000)]
    posts = [{"v": 1, "id": i, "source": "chaos", "text": f"{i} {rng.getrandbits(12_000):x}"} for i in ids]
    sent = frozenset(document_id("chaos", i) for i in ids)
    produce(t.system, Corpus([json.dumps(p).encode() for p in posts], frozenset(), 0))
    t.sent.append(Corpus([], frozenset(), 0, unsure=sent))
    worker = t.worker(index_sleeps=1.0)
    time.sleep(rng.uniform(1, 3))
    t.delete_records()
    if choice == "stop":
        t.expect_exit(worker, 78)
        t.require("were never read" in t.logs(), "it says how many are gone")
        t.settings(KAFKA__ON_DELETED="skip")
    worker.kill()
    t.send(500)
    t.cured()
    t.worker()
    t.drain()
    _at_rest(t)
    books = from_store(t.system.store)
    t.note("skipped", books.skipped)
    read = books.consumed + books.skipped
    t.require(read >= 6500 and books.skipped > 0, f"6500 sent, {read} read or known to be gone")
    t.require("skipped records that were never read" in t.logs(), "it says how many are skipped")


def clock_ahead(t: Trial, rng: random.Random) -> None:
    t.worker()
    now = datetime.now(UTC)
    for number in range(40):
        ahead = timedelta(minutes=rng.choice([1, 20, 59, 61, 10**6]))
        moment = now + (ahead if number % 4 == 0 else timedelta(0))
        post = {"v": 1, "id": f"c{number}", "source": "chaos", "text": f"clock {number}"}
        t.send_posts([{**post, "published_at": moment.isoformat()}], rejected=set())
    t.cured()
    t.drain()
    _at_rest(t)
    latest = max(p.event_time for p in t.system.store.load_progress().values())
    t.require(latest <= datetime.now(UTC), f"the clock of the progress stands at {latest}")


def offsets_expired(t: Trial, rng: random.Random) -> None:
    worker = t.worker()
    t.send(rng.randint(500, 1500))
    t.drain()
    t.require(worker.stop() == 0, "stopped")
    admin = AdminClient({"bootstrap.servers": t.kafka.address})
    group = f"{kafka_of(t.system).group}-classify"
    _patiently(lambda: [f.result() for f in admin.delete_consumer_groups([group]).values()])
    t.send(rng.randint(100, 500))
    t.cured()
    t.worker()
    t.drain()
    _at_rest(t)
    t.require("the ledger has the position" in t.logs(), "it says from where it goes on")


def another_cluster(t: Trial, rng: random.Random) -> None:
    worker = t.worker()
    t.send(rng.randint(1000, 2000))
    t.drain()
    t.require(worker.stop() == 0, "stopped")
    other = Kafka(t.folder / "other")
    other.start()
    t.closing.append(other.process.kill)
    t.settings(KAFKA__BOOTSTRAP_SERVERS=other.address)
    t.system.cli("setup")
    t.send(rng.randint(300, 600))
    t.cured()
    t.worker()
    t.drain()
    _at_rest(t)
    _evaluates(t)


def transaction(t: Trial, n: int, end: str) -> None:
    """`n` records in one transaction; `end` is commit or abort."""
    address = kafka_of(t.system).bootstrap_servers
    producer = Producer({"bootstrap.servers": address, "transactional.id": uuid.uuid4().hex})
    producer.init_transactions()
    producer.begin_transaction()
    if end == "commit":
        for value in t.next_corpus(n).values:
            producer.produce(t.system.topic, value)
        producer.commit_transaction()
        return
    for i in range(n):
        post = {"v": 1, "id": f"a{uuid.uuid4().hex}", "source": "chaos", "text": f"ABORTED {i}"}
        producer.produce(t.system.topic, json.dumps(post).encode())
    producer.flush(30)
    producer.abort_transaction()


def _create(t: Trial, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": t.kafka.address})
    _patiently(lambda: [f.result() for f in admin.create_topics([NewTopic(topic, 4, 1)]).values()])


def _again(t: Trial) -> None:
    admin = AdminClient({"bootstrap.servers": t.kafka.address})
    for future in admin.delete_topics([t.system.topic]).values():
        future.result()
    _create(t, t.system.topic)


def _patiently(act: Callable[[], object]) -> None:
    for _ in range(100):
        try:
            act()
            return
        except Exception as error:
            last = error
            time.sleep(0.3)
    raise last


def _at_rest(t: Trial) -> None:
    """The books see no lag either."""
    deadline = time.monotonic() + 30
    while (found := from_store(t.system.store, [t.system.topic])).lag:
        t.require(time.monotonic() < deadline, f"lag 0 at rest: {found}")
        time.sleep(0.5)


def _evaluates(t: Trial) -> None:
    """The alert role comes to verdicts."""
    port = free_port()
    made: Worker = t.process("tests.chaos.worker", ["run", "alert", "--metrics-port", str(port)], {})
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as answer:
                found = re.search(r"^opinionwatch_alert_evaluations_total ([1-9.e+]+)", answer.read().decode(), re.M)
        except OSError:
            found = None
        if found:
            break
        t.require(time.monotonic() < deadline, f"no verdict within a minute: {t.logs()[-1500:]}")
        time.sleep(0.5)
    made.kill()


def _ever() -> tuple[datetime, datetime]:
    return datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
