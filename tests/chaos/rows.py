"""The fault table as data: what is done to a running system, and what must hold after the cure."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from tests.chaos import logs
from tests.chaos.alert_rows import (
    a_channel_is_down_beside_a_healthy_one,
    every_channel_refuses_and_comes_back,
    killed_after_telling_with_late_posts,
)
from tests.chaos.proxy import ACTIONS
from tests.chaos.trial import Trial

Play = Callable[[Trial, random.Random], None]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; `long` rows are left out of the short run in CI. `broker` names what it needs."""

    number: int
    title: str
    play: Play
    long: bool = False
    broker: Literal["one", "three", "small disk"] = "one"


def kill_between_index_and_commit(t: Trial, rng: random.Random) -> None:
    worker = t.worker(kill_after_index=rng.randint(1, 4), index_sleeps=0.05)
    t.send(3000)
    t.expect_exit(worker, -signal.SIGKILL)
    t.cured()
    t.worker()


def sigterm_in_mid_batch(t: Trial, rng: random.Random) -> None:
    worker = t.worker(index_sleeps=0.3)
    t.send(3000)
    time.sleep(rng.uniform(0.2, 2))
    started = time.monotonic()
    code = worker.stop()
    t.note("exit_s", time.monotonic() - started)
    t.require(code == 0 and time.monotonic() - started <= 10, f"exit {code} in time")
    t.cured()
    t.worker()


def sink_raises(t: Trial, rng: random.Random) -> None:
    t.worker(index_raises=sorted(rng.sample(range(1, 8), 3)))
    t.send(3000)
    t.cured()


def only_poisons(t: Trial, rng: random.Random) -> None:
    t.settings(FLOW__DEAD_LETTER_LIMIT="50")
    worker = t.worker()
    t.send(400, poisons=1.0)
    t.expect_exit(worker, 78)
    t.require(t.dead() <= 50, "the dead letters stay under the limit")
    t.settings(FLOW__DEAD_LETTER_LIMIT="100000", FLOW__DEAD_LETTER_SHARE="1.0")
    t.cured()
    t.worker()


def large_messages(t: Trial, rng: random.Random) -> None:
    worker = t.worker()
    before = t.memory_mb(worker)
    t.send(200)
    t.send_raw([b"x" * size for size in (1_000_000, 5_000_000, 9_900_000)])
    t.larger_records(20_000_000)
    huge = bytes(rng.randrange(97, 123) for _ in range(1000)) * 12_500
    t.send_raw([huge])
    t.cured()
    t.drain()
    letter = next(x for x in t.system.cli("dead", "list", "--json") if x["by_reference"])
    t.require(letter["bytes"] == len(huge), "what the dead-letter topic does not take is buried by reference")
    t.require(t.system.cli("dead", "show", letter["id"], "--raw") == huge.decode(), "and its bytes are found")
    after = t.memory_mb(worker)
    t.note("memory_factor", after / before)
    t.require(after < 3 * before, f"memory {before:.0f} -> {after:.0f} MB")


def broker_is_stopped(t: Trial, rng: random.Random) -> None:
    worker = t.worker(index_sleeps=0.1)
    t.send(3000)
    time.sleep(rng.uniform(0.1, 1))
    t.broker.process.signal(signal.SIGSTOP)
    time.sleep(t.outage_s)
    t.broker.process.signal(signal.SIGCONT)
    t.cured()
    t.require(worker.running(), "the worker lives")
    t.send(500)


def broker_is_killed(t: Trial, rng: random.Random) -> None:
    worker = t.worker(index_sleeps=0.1)
    t.send(3000)
    time.sleep(rng.uniform(0.1, 1))
    t.broker.process.kill()
    time.sleep(t.outage_s / 2)
    t.kafka.start()
    t.cured()
    t.require(worker.running(), "the worker lives")
    t.send(500)


def one_of_three_brokers_is_killed(t: Trial, rng: random.Random) -> None:
    worker = t.worker(index_sleeps=0.05)
    t.send(2000)
    node = rng.choice(t.cluster.nodes)
    node.stop()
    t.send(1000)
    time.sleep(t.outage_s / 2)
    node.start()
    t.cured()
    t.require(worker.running(), "the worker lives")
    t.send(500)


def broker_has_no_disk_left(t: Trial, rng: random.Random) -> None:
    worker = t.worker()
    t.send(1000)
    t.drain()
    free = shutil.disk_usage(t.broker.data).free
    filler = t.broker.data.parent / "filler"
    filler.write_bytes(b"\0" * (free - rng.randint(80_000, 250_000)))
    sent = t.send_to_a_sick_broker(5000, within_s=6)
    t.note("confirmed", len(sent.values))
    t.require(len(sent.unsure) > 0, "the disk is full")
    time.sleep(t.outage_s / 2)
    t.require(worker.running(), "the worker lives")
    filler.unlink()
    t.kafka.stop()
    t.kafka.start()
    t.cured()
    t.send(500)


def dead_letter_topic_is_gone(t: Trial, rng: random.Random) -> None:
    topic = t.system.env["OPINIONWATCH_KAFKA__DEAD_TOPIC"]
    t.worker()
    t.send(300)
    t.drain()
    letters = t.dead()
    admin = KafkaAdminClient(bootstrap_servers=t.kafka.address)
    admin.delete_topics([topic])
    t.send_raw([b"not json"])
    t.send(300, poisons=0.0)
    time.sleep(8)
    t.require(t.lag() > 0, "nothing is committed past the poison")
    admin.create_topics([NewTopic(name=topic, num_partitions=1, replication_factor=1)])
    admin.close()
    t.cured()
    t.drain()
    t.require(t.dead() >= 1, f"the poison is in the new topic ({letters} were in the old)")


def workers_come_and_go(t: Trial, rng: random.Random) -> None:
    workers = [t.worker(index_sleeps=0.05) for _ in range(3)]
    for _ in range(3 if t.short else 12):
        t.send(700)
        worker = workers.pop(rng.randrange(len(workers)))
        if rng.random() < 0.5:
            worker.kill()
        else:
            t.require(worker.stop() == 0, "SIGTERM ends with 0")
        workers.append(t.worker(index_sleeps=0.05))
    t.cured()


def batch_longer_than_the_poll_interval(t: Trial, rng: random.Random) -> None:
    t.worker(slow_batch=[rng.randint(1, 3), 14], max_poll_s=6.0)
    t.worker(max_poll_s=6.0)
    t.send(3000)
    t.cured()


def scripted_store(actions: tuple[str, ...]) -> Play:
    def play(t: Trial, rng: random.Random) -> None:
        plan = [rng.choice(actions) for _ in range(12)]
        with t.proxy(lambda n: plan[n - 1] if n <= len(plan) else "pass") as proxy:
            t.worker()
            t.send(6000, poisons=0.0)
            t.cured()
            t.drain()
            twice = sum(n > 1 for n in proxy.writes.values())
            t.note("bulks", dict(proxy.done))
        t.require(twice == 0, f"{twice} good documents written twice")

    return play


def mapping_conflict(t: Trial, rng: random.Random) -> None:
    past = datetime.now(UTC) - timedelta(days=40)
    t.store_put(f"opinion-posts-{past:%Y.%m}", {"mappings": {"properties": {"url": {"type": "integer"}}}})
    place = rng.randrange(499)
    ids = [f"m{i}" for i in range(500)]
    posts = [{"v": 1, "id": i, "source": "chaos", "text": i, "published_at": past.isoformat()} for i in ids]
    posts[place]["url"] = "https://a.example/no-number"
    t.send_posts(posts, rejected={ids[place]})
    t.worker()
    t.cured()
    t.drain()
    t.require(t.dead() == 1, "exactly one is dead")


def disk_flood_stage(t: Trial, rng: random.Random) -> None:
    t.worker()
    t.send(1000)
    t.drain()
    block = {"index.blocks.read_only_allow_delete": True}
    t.store_put("opinion-posts/_settings", block)
    t.send(1000)
    time.sleep(5)
    t.require(t.lag() > 0, "held, not acked")
    t.store_put("opinion-posts/_settings", dict.fromkeys(block))
    t.cured()


def write_block(t: Trial, rng: random.Random) -> None:
    t.worker()
    t.send(1000)
    t.drain()
    t.store_put("opinion-posts/_settings", {"index.blocks.write": True})
    t.send(1000, poisons=0.0)
    time.sleep(5)
    t.require(t.lag() > 0, "held, not acked")
    t.store_put("opinion-posts/_settings", {"index.blocks.write": None})
    t.cured()


def index_and_template_are_gone(t: Trial, rng: random.Random) -> None:
    worker = t.worker()
    t.store_delete("opinion-posts-2026")
    t.store_delete("_index_template/opinion-posts")
    t.send(300, poisons=0.0)
    t.expect_exit(worker, 78)
    t.require("opinionwatch setup" in t.logs(), "the remedy is named")
    t.require("opinion-posts-2026" not in t.indices("opinion-posts-*"), "no stray index is made")
    t.system.cli("setup")
    t.cured()
    t.worker()


def too_large_bulk(t: Trial, rng: random.Random) -> None:
    # A document is over 700 bytes: the limit takes some, never all of a batch; one post is over it by itself.
    with t.proxy(lambda _: "pass", largest=40_000) as proxy:
        t.send(1000, poisons=0.0)
        big = {"v": 1, "id": "big", "source": "chaos", "text": "x" * 50_000, "published_at": "2026-03-02T00:00:00Z"}
        t.send_posts([big], rejected={"big"})
        t.worker()
        t.cured()
        t.drain()
        t.require(proxy.done["413"] > 0, "the store said 413")
    t.require(t.dead() == 1, "the one too big is dead")


def offsets_are_reset(t: Trial, rng: random.Random) -> None:
    worker = t.worker()
    t.send(2000)
    t.drain()
    t.require(worker.stop() == 0, "stopped")
    t.reset_offsets()
    before = t.counts()
    t.cured()
    t.worker()
    t.drain()
    t.require(t.counts() == before, "the counts stay the same")


def memory_runs_out(t: Trial, rng: random.Random) -> None:
    t.worker(memory_for=rng.choice([1, 3, 50]))
    t.send(1500)
    t.cured()
    t.drain()
    worker = t.worker(memory_for=0)
    t.send(300, poisons=0.0)
    t.workers[0].stop()
    t.expect_exit(worker, 78)
    t.worker()


def classifier_meets_a_bug(t: Trial, rng: random.Random) -> None:
    worker = t.worker(classifier_raises=rng.randint(1, 3))
    t.send(3000)
    started = time.monotonic()
    t.expect_exit(worker, 70)
    t.note("detected_s", time.monotonic() - started)
    t.cured()
    t.worker()


def one_text_meets_a_bug(t: Trial, rng: random.Random) -> None:
    worker = t.worker(bug_on="trapped")
    t.send(1000)
    trapped: list[dict[str, Any]] = [
        {"v": 1, "id": f"trap{i}", "source": "chaos", "text": f"trapped {i}"} for i in range(3)
    ]
    t.send_posts(trapped, rejected={post["id"] for post in trapped})
    t.send(1000)
    t.cured()
    t.drain()
    t.require(worker.running(), "the worker lives")
    letters = t.system.cli("dead", "list", "--reason", "bug", "--json")
    t.require(
        {(x["stage"], x["reason"]) for x in letters} == {("classify", "bug")} and len(letters) == 3, "three are dead"
    )


def hostile_records(t: Trial, rng: random.Random) -> None:
    """Headers, timestamps and texts that nobody writes by accident, between good posts."""
    worker = t.worker()
    t.send(500)
    invalidation_tokens = "a" + "\u0301" * 40_000 + "\u0316" * 40_000
    hostile: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, {"headers": [("replayed", None)]}),
        ({}, {"headers": [("replayed", b"9" * 5000)]}),
        ({}, {"headers": [("replayed", b"\xb2"), ("", b"\xff"), ("replayed", b"")]}),
        ({}, {"timestamp": -62135596800001}),
        ({"text": invalidation_tokens}, {}),
        ({"text": "\ufdfa" * 90_000}, {}),
        ({"likes": "many", "kind": "blog", "author": {}, "url": "http://x/\x1b[2J\r\n", "lang": 5}, {}),
    ]
    base = {"v": 1, "source": "chaos", "text": "hi"}
    t.send_odd([({**base, "id": f"hostile{i}", **more}, how) for i, (more, how) in enumerate(hostile)])
    t.send_raw(
        [
            b'{"v":1,"id":"x","source":"s","text":"a","extra":{'
            + b",".join(b'"%d":{}' % i for i in range(60_000))
            + b"}}"
        ]
    )
    t.send(500)
    t.cured()
    t.drain()
    t.require(worker.running(), "the worker lives")


def offsets_out_of_range(t: Trial, rng: random.Random) -> None:
    worker = t.worker()
    t.send(600)
    t.drain()
    worker.stop()
    t.send(600, kept=False)
    t.delete_records()
    t.send(200)
    refused = t.try_worker()
    t.require(refused == 78, f"exit {refused}: it stops rather than skip")
    t.require("were never read" in t.logs(), "it says how many are gone")
    t.settings(KAFKA__ON_DELETED="skip")
    t.cured()
    t.worker()


def error_inside_faust(t: Trial, rng: random.Random) -> None:
    parts = {"look at the fetcher": 15, "fetch routine": 30, "heartbeat": 3, "sender": 10}
    part = rng.choice(list(parts))
    worker = t.worker(dies_in=[part, parts[part] + rng.randint(1, 5)])
    t.note("part", part)
    t.send(3000)
    t.expect_exit(worker, 70, within_s=40)
    t.cured()
    t.worker()


def commits_fail(t: Trial, rng: random.Random) -> None:
    error = rng.choice(
        ["CommitFailedError", "KafkaTimeoutError", "UnknownMemberIdError", "GroupAuthorizationFailedError",
         "KafkaConnectionError", "GroupCoordinatorNotAvailableError"]
    )  # fmt: skip
    times = rng.randint(1, 6)
    t.note("failed", f"{error} {times}x")
    worker = t.worker(commits_fail=[error, times])
    t.send(1500)
    time.sleep(times + 1)
    t.send(1500)
    t.cured()
    t.drain()
    t.require(worker.running(), "the worker lives")


def every_compression(t: Trial, rng: random.Random) -> None:
    t.worker()
    codecs = ["gzip", "snappy", "lz4", "zstd"]
    rng.shuffle(codecs)
    for codec in codecs:
        t.send_compressed(500, codec)
    t.cured()


def worker_is_frozen(t: Trial, rng: random.Random) -> None:
    frozen = t.worker(index_sleeps=0.1)
    t.send(3000)
    time.sleep(rng.uniform(0.2, 1.5))
    frozen.signal(signal.SIGSTOP)
    t.worker()
    time.sleep(rng.uniform(7, 10))
    t.send(500)
    frozen.signal(signal.SIGCONT)
    t.cured()
    t.drain()
    t.require(frozen.running(), "the frozen worker lives")


def sigterm_in_each_state(t: Trial, rng: random.Random) -> None:
    for step, says in {"store": "the store", "kafka": "to Kafka", "model": "the model"}.items():
        t.end(t.starting(says, hangs_in=step), f"start, {step}")
    t.system.env["HOME"] = "/proc/none"
    tuning = t.starting("the model", module="pipeline.cli.main")
    time.sleep(rng.uniform(1, 5))
    t.end(tuning, "model load or trial of batch sizes")
    silent = t.worker(index_sleeps=60)
    t.send(1000)
    time.sleep(rng.uniform(1, 3))
    t.end(silent, "silent store")
    busy = t.worker(index_sleeps=0.3)
    t.send(1000)
    time.sleep(rng.uniform(0.2, 2))
    t.end(busy, "mid-batch")
    cut_off = t.worker(index_sleeps=0.3)
    t.broker.process.signal(signal.SIGSTOP)
    try:
        time.sleep(rng.uniform(1, 10))
        t.end(cut_off, "Kafka away")
    finally:
        t.broker.process.signal(signal.SIGCONT)
    t.cured()
    t.worker()


def compression_bomb(t: Trial, rng: random.Random) -> None:
    worker = t.worker()
    t.send(500)
    t.drain()
    before = t.peak_memory_mb(worker)
    t.send_bomb(30, 9_000_000, rng.choice(["gzip", "zstd", "lz4"]))
    t.send(500)
    t.cured()
    t.drain()
    grown = t.peak_memory_mb(worker) - before
    t.note("grown_mb", grown)
    t.require(worker.running(), "the worker lives")
    t.require(grown < 300, f"{grown:.0f} MB for 270 MB of zeros")


def source_topic_is_deleted(t: Trial, rng: random.Random) -> None:
    other = f"{t.system.topic}.retired"
    admin = KafkaAdminClient(bootstrap_servers=t.kafka.address)
    admin.create_topics([NewTopic(name=other, num_partitions=2, replication_factor=1)])
    t.settings(KAFKA__TOPICS=json.dumps([t.system.topic, other]))
    worker = t.worker()
    t.send(500)
    t.send_elsewhere(other, 300)
    t.wait_for(lambda: t.system.status()["consumed"] >= 800, 60)
    time.sleep(rng.uniform(0, 2))
    admin.delete_topics([other])
    admin.close()
    t.send(500)
    t.expect_exit(worker, 78, within_s=60)
    t.require(f"topic {other} was deleted" in t.logs(), "the topic is named")
    t.require(t.logs().count("OffsetCommit failed") < 5, "the log is not flooded")
    t.settings(KAFKA__TOPICS=json.dumps([t.system.topic]))
    t.cured()
    t.worker()


ROWS = [
    Row(1, "worker killed between index write and commit", kill_between_index_and_commit),
    Row(2, "SIGTERM in mid-batch", sigterm_in_mid_batch),
    Row(3, "the sink raises, three times", sink_raises),
    Row(5, "100 % poisons", only_poisons),
    Row(6, "records of 1, 5, 9.9 and 12.5 MB", large_messages),
    Row(7, "broker stopped (SIGSTOP)", broker_is_stopped, long=True),
    Row(71, "broker killed and started", broker_is_killed, long=True),
    Row(72, "one of three brokers killed and started", one_of_three_brokers_is_killed, long=True, broker="three"),
    Row(28, "Kafka's disk is full", broker_has_no_disk_left, long=True, broker="small disk"),
    Row(8, "dead-letter topic gone", dead_letter_topic_is_gone, long=True),
    Row(9, "three workers, one goes and one comes", workers_come_and_go, long=True),
    Row(10, "a batch longer than max.poll.interval", batch_longer_than_the_poll_interval, long=True),
    Row(12, "429 for the bulk and per item", scripted_store(("pass", "429", "429_items"))),
    Row(13, "503 or a cut connection after the write", scripted_store(("pass", "apply_then_503", "apply_then_drop"))),
    Row(14, "mapping conflict in a bulk of 500", mapping_conflict),
    Row(15, "disk flood stage, set and cleared", disk_flood_stage),
    Row(16, "write block", write_block),
    Row(17, "index and template gone", index_and_template_are_gone),
    Row(18, "bulk over the store's limit (413)", too_large_bulk),
    Row(19, "answers too short or cut", scripted_store(("pass", "too_few", "truncated", "drop", "503"))),
    Row(191, "everything that the proxy can do", scripted_store(ACTIONS), long=True),
    Row(20, "offsets reset, every record again", offsets_are_reset),
    Row(25, "memory runs out", memory_runs_out, long=True),
    Row(26, "a bug in the classifier", classifier_meets_a_bug),
    Row(101, "a bug that one text meets", one_text_meets_a_bug),
    Row(102, "hostile headers, timestamps and texts", hostile_records),
    Row(29, "retention deleted what was not read", offsets_out_of_range),
    Row(30, "an error inside Faust or its client", error_inside_faust),
    Row(31, "commits fail", commits_fail),
    Row(32, "gzip, snappy, lz4 and zstd", every_compression),
    Row(33, "a worker frozen past its session", worker_is_frozen, long=True),
    Row(34, "SIGTERM in each state", sigterm_in_each_state, long=True),
    Row(35, "a compression bomb", compression_bomb, long=True),
    Row(36, "a source topic deleted", source_topic_is_deleted, long=True),
    Row(40, "a transactional producer, with aborted records", logs.transactions),
    Row(41, "the topic is deleted and created again", logs.topic_created_again),
    Row(42, "a topic leaves the settings", logs.topic_retired, long=True),
    Row(43, "records deleted under a running worker", logs.deleted_under_a_worker),
    Row(44, "posts from clocks that are ahead", logs.clock_ahead),
    Row(45, "the group's offsets have expired", logs.offsets_expired),
    Row(46, "another cluster", logs.another_cluster, long=True),
    Row(50, "a channel down beside a healthy one", a_channel_is_down_beside_a_healthy_one),
    Row(51, "alert role killed after telling, late posts", killed_after_telling_with_late_posts),
    Row(52, "every channel refuses, then comes back", every_channel_refuses_and_comes_back),
]  # fmt: skip
