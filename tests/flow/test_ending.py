"""A worker as a process: its ports come first, and a signal ends it in every state of its start."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from pipeline.domain.metrics import Metrics
from pipeline.domain.threads import DaemonThreadPool
from pipeline.settings import HttpSettings
from tests.services.process import free_port
from tests.system import PYTHON, until


@contextmanager
def silent() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        yield int(server.getsockname()[1])


@contextmanager
def worker(folder: Path, role: str, port: int, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    env = {**os.environ, **{f"OPINIONWATCH_{k}": v for k, v in settings.items()}}
    command = [*PYTHON, "run", role, "--metrics-port", str(port), "--port", "0"]
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=folder)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def answer(port: int, path: str) -> str:
    """Of the health port; empty where nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as found:
            return str(found.read().decode())
    except urllib.error.HTTPError as error:
        return error.read().decode()
    except OSError:
        return ""


@pytest.mark.parametrize("signals", [1, 2])
def test_while_the_store_is_silent_a_worker_lives_says_so_and_ends_at_a_signal(tmp_path: Path, signals: int) -> None:
    port = free_port()
    with silent() as store, worker(tmp_path, "console", port, STORE__URL=f"http://127.0.0.1:{store}") as process:
        until(lambda: answer(port, "/livez") == "alive\n", 30)
        until(lambda: "starting: connecting to the store" in answer(port, "/readyz"), 10)
        began = time.monotonic()
        for _ in range(signals):
            process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("role", ["alert", "console"])
def test_a_port_in_use_is_named_before_anything_is_opened(tmp_path: Path, role: str) -> None:
    with silent() as store, worker(tmp_path, role, store, STORE__URL=f"http://127.0.0.1:{store}",
                                   KAFKA__BOOTSTRAP_SERVERS="127.0.0.1:1") as process:  # fmt: skip
        assert process.wait(30) == 78
    said = (tmp_path / "worker.log").read_text()
    assert f"127.0.0.1:{store} cannot be opened: " in said
    assert "--metrics-port" in said
    assert len(said.splitlines()) == 1


def test_each_role_has_a_metrics_port_of_its_own() -> None:
    ports = [HttpSettings().metrics_port_of(role) for role in ("classify", "alert", "console")]
    assert ports == [9108, 9109, 9110]
    assert HttpSettings().metrics_port_of("all") == 9108
    assert HttpSettings(metrics_port=0).metrics_port_of("alert") == 0
    assert HttpSettings(metrics_port=7).metrics_port_of("console") == 7


def test_the_lag_of_a_partition_that_moved_away_leaves_the_metrics() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for partition in range(3):
        metrics.lag.labels("t", str(partition)).set(5)
    metrics.keep_lag({("t", 1)})
    found = [
        registry.get_sample_value("opinionwatch_consumer_lag", {"topic": "t", "partition": str(p)}) for p in range(3)
    ]
    assert found == [None, 5, None]
    metrics.keep_lag(set())
    assert registry.get_sample_value("opinionwatch_consumer_lag", {"topic": "t", "partition": "1"}) is None


def test_threads_that_hang_keep_nobody() -> None:
    hangs = threading.Event()

    async def scenario() -> list[int]:
        asyncio.get_running_loop().set_default_executor(DaemonThreadPool(3, "test"))
        blocked = asyncio.create_task(asyncio.to_thread(hangs.wait))
        found = await asyncio.gather(*(asyncio.to_thread(lambda i=i: i * i) for i in range(50)))  # type: ignore[misc]
        blocked.cancel()
        return list(found)

    began = time.monotonic()
    assert asyncio.run(scenario()) == [i * i for i in range(50)]
    assert time.monotonic() - began < 5
    hangs.set()


def test_a_pool_makes_no_more_threads_than_it_may_and_raises_what_its_work_raises() -> None:
    pool, running, most, lock = DaemonThreadPool(3, "test"), 0, 0, threading.Lock()

    def work(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.005)
        with lock:
            running -= 1
        return 1 // (number % 10)

    futures = [pool.submit(work, i) for i in range(60)]
    assert sum(isinstance(f.exception(5), ZeroDivisionError) for f in futures) == 6
    assert 2 <= most <= 3
    waits = threading.Event()
    held = [pool.submit(waits.wait) for _ in range(3)]
    until(lambda: all(f.running() for f in held), 5)
    late = pool.submit(work, 1)
    pool.shutdown()
    assert late.cancelled()
    waits.set()
    assert all(f.result(5) for f in held)
