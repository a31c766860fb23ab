"""`python -m tests.chaos.stock [--seeds 3]`: what stock Faust loses under the faults of the table, beside ours.

The same records, sink and faults; after the fault another worker goes on with the group until nothing moves any more.
`lost` are posts that are neither in the index nor still to be read; `stuck` are records that stay unread.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from tests.chaos.oracle import examine
from tests.chaos.services import Services
from tests.chaos.trial import Trial, Worker

RECORDS = 1200
STILL_S = 25.0
Start = Callable[..., Worker]


def _stock(pattern: str) -> Callable[[Trial], Start]:
    def starts(trial: Trial) -> Start:
        def start(**faults: object) -> Worker:
            made = trial.process("tests.chaos.stock_worker", [pattern], faults)
            time.sleep(4)
            trial.require(made.running(), f"it started: {trial.logs()[-500:]}")
            return made

        return start

    return starts


KINDS: dict[str, Callable[[Trial], Start]] = {
    "stock events": _stock("events"), "stock take": _stock("take"), "ours": lambda trial: trial.worker,
}  # fmt: skip


def sink_raises(t: Trial, start: Start, rng: random.Random) -> None:
    start(index_raises=sorted(rng.sample(range(2, 10), 3)))
    t.send(RECORDS, poisons=0.0)


def poison(t: Trial, start: Start, rng: random.Random) -> None:
    start()
    t.send(RECORDS // 2, poisons=0.0)
    t.send_raw([b"{"])
    t.send(RECORDS // 2, poisons=0.0)


def killed(t: Trial, start: Start, rng: random.Random) -> None:
    worker = start(kill_after_index=rng.randint(1, 6))
    t.send(RECORDS, poisons=0.0)
    worker.exit_code(60)


def terminated(t: Trial, start: Start, rng: random.Random) -> None:
    worker = start(index_sleeps=0.1)
    t.send(RECORDS, poisons=0.0)
    time.sleep(rng.uniform(6, 9))
    worker.stop()


def write_block(t: Trial, start: Start, rng: random.Random) -> None:
    start()
    t.send(RECORDS // 2, poisons=0.0)
    time.sleep(8)
    t.store_put("opinion-posts/_settings", {"index.blocks.write": True})
    t.send(RECORDS // 2, poisons=0.0)
    time.sleep(5)
    t.store_put("opinion-posts/_settings", {"index.blocks.write": None})


FAULTS = {
    "the sink raises, three times": sink_raises,
    "one poison": poison,
    "killed between write and commit": killed,
    "SIGTERM in mid-stream": terminated,
    "the store refuses writes for 5 s": write_block,
}


def still(trial: Trial) -> int:
    """Waits until everything is committed or nothing moves any more; the records left."""
    left, since = trial.lag(), time.monotonic()
    while left and time.monotonic() - since < STILL_S:
        time.sleep(1)
        if (now := trial.lag()) != left:
            left, since = now, time.monotonic()
    return left


def play(kind: str, fault: str, services: Services, seed: int) -> tuple[int, int]:
    """(lost, stuck)."""
    folder = Path(tempfile.mkdtemp(prefix="stock-"))
    trial = Trial(services.broker("one"), services.elasticsearch, folder, seed)
    try:
        start = KINDS[kind](trial)
        FAULTS[fault](trial, start, random.Random(seed))
        still(trial)
        for worker in trial.workers:
            if worker.running():
                worker.signal(signal.SIGKILL)
        start()
        stuck = still(trial)
        return max(0, examine(trial.system, *trial.sent).lost - stuck), stuck
    finally:
        trial.close()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.stock")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    services = Services()
    found: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    try:
        for seed in range(1, options.seeds + 1):
            for fault in FAULTS:
                for kind in KINDS:
                    found[fault, kind].append(play(kind, fault, services, seed))
                    print(f"seed {seed}  {fault:34} {kind:13} lost, stuck {found[fault, kind][-1]}", flush=True)
    finally:
        services.close()
    print(f"| fault | {' | '.join(KINDS)} |\n|---|{'---|' * len(KINDS)}")
    for fault in FAULTS:
        cells = []
        for kind in KINDS:
            trials = found[fault, kind]
            stuck = f"; stuck {', '.join(str(n) for _, n in trials)}" if any(n for _, n in trials) else ""
            cells.append(f"lost {', '.join(str(n) for n, _ in trials)}{stuck}")
        print(f"| {fault} | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
