"""`python -m tests.chaos.soak --minutes 20 --posts 1000000`: three workers, a fault every 10 to 30 seconds.

Prints what was lost and doubled, and how the memory of the third worker, which is never killed, went: in MB, the means
of the fifths of its life, and the slope over the last two in MB an hour (least squares). Its label cache is small here,
and the other (200,000 owners of texts, 80 MB) is full after 200,000 of its posts: only then can memory be flat.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from tests.chaos import logs
from tests.chaos.trial import Trial, Worker
from tests.services.elasticsearch import ElasticsearchServer
from tests.services.kafka import Kafka

PART = 5000


Fault = Callable[[Trial, list[Worker], random.Random], None]


def killed(trial: Trial, workers: list[Worker], rng: random.Random) -> None:
    place = _replaceable(workers, rng)
    workers[place].kill()
    workers[place] = trial.worker()


def terminated(trial: Trial, workers: list[Worker], rng: random.Random) -> None:
    place = _replaceable(workers, rng)
    workers[place].stop()
    workers[place] = trial.worker()


def broker_stopped(trial: Trial, workers: list[Worker], rng: random.Random) -> None:
    trial.broker.process.signal(signal.SIGSTOP)
    time.sleep(rng.uniform(1, 6))
    trial.broker.process.signal(signal.SIGCONT)


def writes_blocked(trial: Trial, workers: list[Worker], rng: random.Random) -> None:
    trial.store_put("opinion-posts/_settings", {"index.blocks.write": True})
    time.sleep(rng.uniform(1, 6))
    trial.store_put("opinion-posts/_settings", {"index.blocks.write": None})


def worker_frozen(trial: Trial, workers: list[Worker], rng: random.Random) -> None:
    """Up to twice the session of its group."""
    worker = rng.choice(workers)
    worker.signal(signal.SIGSTOP)
    time.sleep(rng.uniform(1, 12))
    worker.signal(signal.SIGCONT)


def client_dies(trial: Trial, workers: list[Worker], rng: random.Random) -> None:
    """A worker in which a part of its Kafka client dies: it ends by itself, and is started again."""
    place = _replaceable(workers, rng)
    workers[place].stop()
    part, calls = rng.choice([("look at the fetcher", 15), ("fetch routine", 30), ("heartbeat", 3)])
    dying = trial.worker(dies_in=[part, calls])
    trial.expect_exit(dying, 70, within_s=60)
    workers[place] = trial.worker()


def commits_fail(trial: Trial, workers: list[Worker], rng: random.Random) -> None:
    place = _replaceable(workers, rng)
    workers[place].stop()
    workers[place] = trial.worker(commits_fail=[rng.choice(["KafkaTimeoutError", "CommitFailedError"]), 3])


def compressed(trial: Trial, workers: list[Worker], rng: random.Random) -> None:
    trial.send_compressed(200, rng.choice(["gzip", "snappy", "lz4", "zstd"]))


def transactions(trial: Trial, workers: list[Worker], rng: random.Random) -> None:
    logs.transaction(trial, 100, "abort")
    logs.transaction(trial, 100, "commit")


def odd_records(trial: Trial, workers: list[Worker], rng: random.Random) -> None:
    """Hostile headers, texts and clocks."""
    odd: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, {"headers": [("replayed", None)]}),
        ({}, {"headers": [("replayed", b"9" * 5000)]}),
        ({"text": "a" + "\u0301" * 40_000 + "\u0316" * 40_000}, {}),
        ({"published_at": "2099-01-01T00:00:00Z", "likes": "many"}, {}),
    ]
    post = {"v": 1, "source": "chaos", "text": "hi"}
    trial.send_odd([({**post, "id": f"odd{rng.getrandbits(64):x}", **more}, how) for more, how in odd])


FAULTS: tuple[Fault, ...] = (
    killed, terminated, broker_stopped, writes_blocked, worker_frozen, client_dies, commits_fail, compressed,
    transactions, odd_records,
)  # fmt: skip
#: They send records, which the feeder must not do at the same time.
SENDING = (compressed, transactions, odd_records)


def _replaceable(workers: list[Worker], rng: random.Random) -> int:
    """Any but the last worker, whose memory is watched."""
    return rng.randrange(len(workers) - 1)


def memory(samples: list[tuple[float, float]]) -> str:
    """Samples are (seconds, MB)."""
    fifths = np.array_split(np.array(samples), 5)
    last = np.concatenate(fifths[3:])
    slope = float(np.polyfit(last[:, 0], last[:, 1], 1)[0]) * 3600
    means = " ".join(f"{float(np.mean(part[:, 1])):.0f}" for part in fifths)
    return f"{means} MB by fifths, {slope:+.0f} MB an hour over the last two"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--posts", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main() -> int:
    options = _options()
    rng = random.Random(options.seed)
    folders = [Path(tempfile.mkdtemp(prefix=f"soak-{n}-")) for n in ("kafka", "index", "work")]
    kafka, elasticsearch = Kafka(folders[0]), ElasticsearchServer(folders[1])
    kafka.start()
    elasticsearch.start()
    trial = Trial(kafka, elasticsearch, folders[2], options.seed)
    trial.settings(MODEL__CACHE_MB="8")
    samples: list[tuple[float, float]] = []
    done = threading.Event()
    workers = [trial.worker() for _ in range(3)]

    def sample() -> None:
        while not done.wait(2):
            samples.append((time.monotonic(), trial.memory_mb(workers[-1])))

    threading.Thread(target=sample, daemon=True).start()
    faults: Counter[str] = Counter()
    sending = threading.Lock()
    started = time.monotonic()
    sent = 0

    def feed() -> None:
        nonlocal sent
        while sent < options.posts and time.monotonic() - started < options.minutes * 60:
            try:
                with sending:
                    trial.send(PART)
                sent += PART
            except Exception as error:
                print(f"the producer waits: {type(error).__name__}", flush=True)
            time.sleep(max(0.0, sent / options.posts * options.minutes * 60 - (time.monotonic() - started)))

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        while feeder.is_alive():
            time.sleep(rng.uniform(10, 30))
            fault = rng.choice(FAULTS)
            with sending if fault in SENDING else nullcontext():
                fault(trial, workers, rng)
            faults[fault.__name__] += 1
            print(
                f"{time.monotonic() - started:6.0f} s  {fault.__name__:14} {sent} sent, {samples[-1][1]:.0f} MB",
                flush=True,
            )
        feeder.join()
        trial.cured()
        found, recovered = trial.finish()
    finally:
        done.set()
        trial.close()
        kafka.process.kill()
        elasticsearch.process.kill()
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
    print(
        f"{sent} records in {(time.monotonic() - started) / 60:.1f} min, faults {dict(faults)}: lost {found.lost}, "
        f"doubled {found.doubled}, not sent {found.stray}, "
        f"books {'add up' if found.law else f'DO NOT ADD UP: {found.books}'}, recovered in {recovered:.0f} s, "
        f"memory {memory(samples)}"
    )
    return 0 if found.clean else 1


if __name__ == "__main__":
    sys.exit(main())
