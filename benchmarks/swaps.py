"""`python -m benchmarks.swaps FILE.jsonl [--minutes 10] [--every 30] [--per-second 150]`: swaps under load.

Real Kafka and Elasticsearch, the starter model under two names, a third version whose file is broken. While the texts
of FILE come at a steady pace, each made unlike any before, the champion changes every so often, every third time to
the broken one. Then: posts lost, documents without a model or of the broken one, and the longest time in which nothing
was indexed.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from models.aliases import CHAMPION
from models.registry import Registry
from pipeline.kafka import admin
from pipeline.settings import STARTER
from tests.chaos.oracle import kafka_of
from tests.chaos.services import Services
from tests.system import System, until

EVERY_DOCUMENT = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


def registry_of(folder: Path) -> Registry:
    """Versions a and b serve, c is broken."""
    registry = Registry(str(folder / "registry"))
    for version in "abc":
        copy = folder / version
        shutil.copytree(STARTER, copy)
        manifest = json.loads((copy / "manifest.json").read_text("utf-8"))
        (copy / "manifest.json").write_text(json.dumps({**manifest, "version": version}), "utf-8")
        registry.register(copy, by="bench")
    broken = folder / "registry" / "versions" / "starter-c" / "model.int8.onnx"
    content = bytearray(broken.read_bytes())
    content[len(content) // 2] ^= 1
    broken.write_bytes(content)
    registry.point(CHAMPION, "starter-a", by="bench", reason="start")
    return registry


def indexed(system: System) -> tuple[Counter[str], float]:
    """Documents by the version that labelled them, and the longest time in seconds without any new one."""
    served, stamps = Counter[str](), set[datetime]()
    for document in system.store.documents(*EVERY_DOCUMENT):
        served[document.scored.model_version] += 1
        stamps.add(document.ingested_at)
    times = sorted(stamps)
    return served, max((b - a).total_seconds() for a, b in zip(times, times[1:], strict=False))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.swaps")
    parser.add_argument("file", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--every", type=float, default=30.0)
    parser.add_argument("--per-second", type=int, default=150)
    options = parser.parse_args()
    texts = [json.loads(line)["text"] for line in options.file.read_text("utf-8").splitlines()]
    folder, services = Path(tempfile.mkdtemp(prefix="swaps-")), Services()
    done = threading.Event()
    sent, swaps = 0, Counter[str]()
    try:
        registry = registry_of(folder)
        system = System(services.broker("one"), services.elasticsearch.url, folder)
        system.env["OPINIONWATCH_MODEL__REGISTRY"] = str(folder / "registry")
        system.cli("setup")
        worker = system.run("classify")

        def swap() -> None:
            turn = 0
            while not done.wait(options.every):
                name = ("starter-b", "starter-c", "starter-a")[turn % 3]
                registry.point(CHAMPION, name, by="bench", reason="swap")
                swaps[name] += 1
                turn += 1

        swapping = threading.Thread(target=swap)
        swapping.start()
        started, rng = time.monotonic(), random.Random(1)
        with admin.producer(kafka_of(system)) as send:
            while time.monotonic() - started < options.minutes * 60:
                text = f"{rng.choice(texts)} {sent}"
                post = {"v": 1, "id": str(sent), "source": "bench", "text": text}
                send(system.topic, json.dumps(post, ensure_ascii=False).encode())
                sent += 1
                time.sleep(max(0.0, started + sent / options.per_second - time.monotonic()))
        done.set()
        swapping.join()
        until(lambda: system.status()["consumed"] >= sent, 180)
        system.store.refresh()
        served, gap = indexed(system)
        log = system.logs()
        code = worker.stop()
        system.store.close()
    finally:
        done.set()
        services.close()
        shutil.rmtree(folder, ignore_errors=True)
    lost = sent - served.total()
    print(
        f"{sent} posts in {options.minutes:.0f} min, {swaps.total()} swaps ({swaps['starter-c']} to a broken version, "
        f"refused {log.count(' stays: ')} times): lost {lost}, served by {dict(sorted(served.items()))}, "
        f"longest gap {gap:.2f} s, exit {code}"
    )
    return int(bool(lost or set(served) - {"a", "b"} or code))


if __name__ == "__main__":
    raise SystemExit(main())
