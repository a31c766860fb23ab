"""Which log is this? Topics created again, deleted records, transactions and expired offsets, on a real Kafka."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from prometheus_client import CollectorRegistry

from pipeline.domain.errors import Fatal
from pipeline.domain.metrics import Metrics
from pipeline.kafka import admin, dead_letters
from pipeline.service.status import from_store
from pipeline.service.workers import Workers
from pipeline.settings import Settings
from pipeline.store.sqlite.store import SqliteStore
from tests.builders import DummyClassifier
from tests.services.kafka import Kafka

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]
SOURCE = "posts"


class Slow(SqliteStore):
    """Each write takes `seconds`."""

    seconds = 0.0

    def index(self, *arguments: Any) -> Any:
        time.sleep(self.seconds)
        return super().index(*arguments)


class Site:
    """Topics of its own, a store, and classify workers in this process."""

    def __init__(self, kafka: Kafka, folder: Path) -> None:
        tag = uuid.uuid4().hex[:8]
        self.topic, self.group, self.address = f"{tag}.posts", tag, kafka.address
        self.admin = AdminClient({"bootstrap.servers": kafka.address})
        self.names = {n: f"{tag}.{n}" for n in ("dead", "progress", "alerts")}
        self.create(self.topic, *self.names.values())
        self.store = Slow(folder / "store.sqlite")
        self.store.setup()
        self.sent = 0
        self.topics = [self.topic]
        self.extra: dict[str, Any] = {}

    def create(self, *names: str) -> None:
        for future in self.admin.create_topics([NewTopic(n, 1, 1) for n in names]).values():
            future.result()

    def settings(self) -> Settings:
        kafka = {
            "bootstrap_servers": self.address,
            "topics": self.topics,
            "group": self.group,
            "dead_topic": self.names["dead"],
            "progress_topic": self.names["progress"],
            "alerts_topic": self.names["alerts"],
            "session_timeout_s": 6,
            **self.extra,
        }
        return Settings.model_validate({"kafka": kafka})

    def send(self, n: int, *, topic: str = "", transaction: str = "", partition: int = 0, size: int = 0) -> None:
        """`transaction` is commit, abort, or open: never ended."""
        more = {"transactional.id": f"{self.group}-{uuid.uuid4().hex}"} if transaction else {}
        producer = Producer({"bootstrap.servers": self.address, **more})
        if transaction:
            producer.init_transactions()
            producer.begin_transaction()
        for i in range(self.sent, self.sent + n):
            post = {"v": 1, "id": str(i), "source": "s", "text": f"post {i} {transaction}" + " x" * size}
            producer.produce(topic or self.topic, json.dumps(post).encode(), partition=partition)
            producer.poll(0)
        producer.flush(30)
        self.sent += n
        if transaction == "commit":
            producer.commit_transaction()
        elif transaction == "abort":
            producer.abort_transaction()
        self._open = producer

    def again(self) -> None:
        """The topic is deleted and created under its name."""
        for future in self.admin.delete_topics([self.topic]).values():
            future.result()
        for _ in range(50):
            time.sleep(0.2)
            try:
                return self.create(self.topic)
            except Exception as error:
                last = error
        raise last

    def delete_below(self, offset: int) -> None:
        for future in self.admin.delete_records([TopicPartition(self.topic, 0, offset)]).values():
            future.result()

    def forget_offsets(self) -> None:
        """As the broker does with a group that was away for longer than it keeps offsets."""
        for _ in range(60):
            try:
                for future in self.admin.delete_consumer_groups([f"{self.group}-classify"]).values():
                    future.result()
                return
            except Exception as error:
                last = error
                time.sleep(0.5)
        raise last

    def committed(self) -> int:
        asked = [ConsumerGroupTopicPartitions(f"{self.group}-classify", [TopicPartition(self.topic, 0)])]
        future = next(iter(self.admin.list_consumer_group_offsets(asked).values()))
        return int(future.result().topic_partitions[0].offset)

    def work(self, until: Callable[[Workers], bool], seconds: float = 40) -> Workers:
        """A worker until something holds, or until it ends by itself."""

        async def run() -> Workers:
            made = Workers(self.settings(), self.address, self.store, Metrics(CollectorRegistry()))
            made.add_classify(DummyClassifier())
            await made.start()
            deadline = time.monotonic() + seconds
            while not made._ended.done() and not await asyncio.to_thread(until, made):
                assert time.monotonic() < deadline, (from_store(self.store), self.store.all_progress())
                await asyncio.sleep(0.2)
            await made.close()
            return made

        return asyncio.run(run())

    def lag(self) -> int:
        return sum(p.lag for p in self.store.load_progress().values())

    def at_rest(self, posts: int) -> Callable[[Workers], bool]:
        """All is indexed, and the worker has said so."""
        return lambda _: self.store.post_count() >= posts and not self.lag() and bool(self.store.load_progress())

    def law(self) -> bool:
        found = from_store(self.store)
        parts = found.indexed + found.duplicate + found.dead + found.in_flight
        return found.consumed == parts and found.indexed == self.store.post_count()


@pytest.fixture
def site(kafka_server: Kafka, tmp_path: Path) -> Iterator[Site]:
    made = Site(kafka_server, tmp_path)
    yield made
    made.store.close()


def raised(workers: Workers) -> Fatal:
    assert isinstance(workers.failure, Fatal), workers.failure
    return workers.failure


def test_aborted_records_are_not_indexed_and_at_rest_nothing_waits(site: Site) -> None:
    site.send(20, transaction="commit")
    site.send(5, transaction="abort")
    site.send(3)
    site.work(lambda w: site.at_rest(23)(w) and site.committed() == 30)
    assert site.store.post_count() == 23
    site.send(4, transaction="abort")
    site.work(lambda w: site.at_rest(23)(w) and site.committed() == 35)
    assert site.law()
    assert from_store(site.store).indexed == 23


def test_an_open_transaction_waits_and_says_so(site: Site) -> None:
    site.send(3)
    site.send(5, transaction="open")
    waiting = site._open
    site.send(2)
    site.work(lambda _: any(p.open_transaction and p.lag == 7 for p in site.store.load_progress().values()))
    assert site.store.post_count() == 3
    waiting.abort_transaction()
    site.work(site.at_rest(5))
    assert site.store.post_count() == 5


def test_a_topic_that_is_created_again_is_read_from_its_beginning(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.send(300)
    site.work(site.at_rest(300))
    before = site.store.load_progress()[site.topic, 0]
    site.again()
    site.send(40)
    kafka = site.settings().kafka
    assert admin.offsets(kafka) == [(site.topic, 0, 0, 40)], "what waits is not hidden by the former offset"
    said = from_store(site.store, [site.topic], logs=admin.logs(kafka)).waiting
    assert [w.reason for w in said] == ["the topic was created again, or is in another cluster"]
    site.work(site.at_rest(340))
    assert from_store(site.store, [site.topic], logs=admin.logs(kafka)).waiting == ()
    now = site.store.load_progress()[site.topic, 0]
    assert before.log != now.log
    assert (now.next_offset, now.indexed) == (40, 40)
    assert site.law()
    assert "another log" in caplog.text
    assert site.committed() == 40


def test_a_topic_that_is_created_again_under_a_worker_ends_it(site: Site) -> None:
    """It comes to as many records as the former one had before the worker looks: their offsets mean other records."""
    site.send(10)

    def again(_: Workers) -> bool:
        if site.at_rest(10)(_):
            if site.sent == 10:
                site.again()
                site.send(30)
            return False
        return False

    ended = site.work(again)
    assert raised(ended).exit_code == 69
    site.work(site.at_rest(40))
    assert site.store.post_count() == 40


@pytest.mark.parametrize("choice", ["stop", "skip"])
def test_records_deleted_under_a_worker_are_never_passed_over_in_silence(
    site: Site, choice: str, caplog: pytest.LogCaptureFixture
) -> None:
    site.extra["on_deleted"] = choice
    site.send(8000, size=1500)
    site.store.seconds = 2.0

    def deleted(workers: Workers) -> bool:
        if site.store.seconds and site.store.post_count():
            site.delete_below(7900)
            site.store.seconds = 0.0
        books = site.store.load_progress().get((site.topic, 0))
        return bool(books and books.next_offset == 8000 and not books.lag)

    ended = site.work(deleted)
    books = site.store.load_progress()[site.topic, 0]
    if choice == "stop":
        assert raised(ended).exit_code == 78
        assert f"{7900 - books.next_offset} of {site.topic}/0" in str(raised(ended))
    else:
        assert books.skipped > 1000
        assert books.skipped + books.indexed == 8000
        assert f"{books.skipped} of {site.topic}/0" in caplog.text
    assert site.law()


def test_a_group_whose_offsets_expired_goes_on_from_the_books(site: Site) -> None:
    site.send(50)
    site.work(site.at_rest(50))
    site.forget_offsets()
    site.delete_below(20)
    site.send(10)
    ended = site.work(site.at_rest(60))
    assert ended.metrics.registry.get_sample_value("opinionwatch_posts_consumed_total") == 10
    site.forget_offsets()
    site.send(10)
    site.delete_below(65)
    assert "5 of" in str(raised(site.work(lambda _: False)))


def test_a_retired_topic_keeps_its_counts_and_has_no_lag(site: Site) -> None:
    other = f"{site.group}.forum"
    site.create(other)
    site.topics = [site.topic, other]
    site.send(20)
    site.send(10, topic=other)
    site.work(lambda w: site.at_rest(30)(w) and len(site.store.load_progress()) == 2)
    site.send(5)
    site.topics = [other]
    site.send(5, topic=other)
    site.work(lambda _: site.store.post_count() == 35)
    found = from_store(site.store, site.topics)
    assert (found.indexed, found.lag, found.retired) == (35, 0, (site.topic,))
    assert not [w for w in found.waiting if w.topic == site.topic]


def test_a_partition_that_is_added_is_read_from_its_first_record(site: Site) -> None:
    site.send(10)

    def added(workers: Workers) -> bool:
        if site.sent == 10 and site.at_rest(10)(workers):
            for future in site.admin.create_partitions([NewPartitions(site.topic, 2)]).values():
                future.result()
            site.send(10, partition=1)
        return site.store.post_count() == 20

    site.work(added, seconds=60)
    assert site.law()


def test_a_topic_of_the_same_name_in_another_cluster_has_books_of_its_own(site: Site, tmp_path: Path) -> None:
    site.send(30)
    site.work(site.at_rest(30))
    other = Kafka(tmp_path / "kafka")
    other.start()
    try:
        site.address, site.admin = other.address, AdminClient({"bootstrap.servers": other.address})
        site.create(site.topic, *site.names.values())
        site.send(7)
        site.work(site.at_rest(37))
    finally:
        other.process.kill()
    assert [p.indexed for p in sorted(site.store.all_progress(), key=lambda p: p.reported_at)] == [30, 7]
    assert site.law()


def test_the_dead_letter_limit_holds_over_restarts(site: Site) -> None:
    producer = Producer({"bootstrap.servers": site.address})
    for _ in range(400):
        producer.produce(site.topic, b"not json", partition=0)
    producer.flush(30)
    base = site.settings()
    flow = base.flow.model_copy(update={"dead_letter_limit": 100, "batch_records": 30})
    site.settings = lambda: base.model_copy(update={"flow": flow})  # type: ignore[method-assign]
    for _ in range(3):
        assert "dead-letter limit" in str(raised(site.work(lambda _: False)))
    assert len(list(dead_letters.dead_letters(base.kafka))) <= 100
