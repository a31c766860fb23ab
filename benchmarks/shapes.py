"""`python -m benchmarks.shapes mixed.jsonl`: what each new shape of a batch costs in time and memory.

Calls of 1 to 256 texts, as they come in a worker whose load changes, each kind of shapes in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import time
from pathlib import Path
from typing import Any

from models import load_bundle
from models.batching import ANY_SHAPE, FEW_SHAPES
from pipeline.settings import STARTER

KINDS = {"as they come": ANY_SHAPE, "few": FEW_SHAPES}
LOOKS = (200, 1000, 2000)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shapes")
    parser.add_argument("data", type=Path, help="posts as JSON lines")
    with parser.parse_args().data.open(encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    for kind in KINDS:
        process = multiprocessing.get_context("spawn").Process(target=_measure, args=(kind, texts))
        process.start()
        process.join()


def _measure(kind: str, texts: list[str]) -> None:
    engine = load_bundle(STARTER, device="cpu")
    seen = set[tuple[int, ...]]()
    session = engine._inference.session

    def watched(inputs: dict[str, Any]) -> Any:
        seen.add(inputs["input_ids"].shape)
        return session.run(inputs)

    engine._inference.session = session._replace(run=watched, shapes=KINDS[kind])
    rng, done, started = random.Random(3), 0, time.perf_counter()
    for call in range(1, LOOKS[-1] + 1):
        some = rng.sample(texts, int(2 ** rng.uniform(0, 8)))
        engine.predict(some)
        done += len(some)
        if call in LOOKS:
            rate = done / (time.perf_counter() - started)
            print(f"{kind}: {done} texts, {len(seen)} shapes, {_resident_mb()} MB, {rate:.0f} texts/s", flush=True)


def _resident_mb() -> int:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * 4096 // 1_000_000


if __name__ == "__main__":
    main()
