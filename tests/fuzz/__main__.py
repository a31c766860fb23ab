"""`python -m tests.fuzz --minutes 30 [--target record]`: inputs that nobody thought of, to what reads them.

Exits with 1 where an input failed; it lies in tests/fuzz/seeds/TARGET then, and test_seeds.py replays it.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.fuzz import engine

_ROUND = 200


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long, over all targets")
    parser.add_argument("--target", action="append", choices=engine.names(), help="default: every target in turn")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the first round")
    options = parser.parse_args()
    chosen: list[str] = options.target or engine.names()
    tried, failed = dict.fromkeys(chosen, 0), 0
    ends, round_ = time.monotonic() + 60 * options.minutes, 0
    while time.monotonic() < ends:
        for name in chosen:
            done, data, error = engine.search(name, _ROUND, options.seed + round_)
            tried[name] += done
            if data is not None:
                failed += 1
                sys.stdout.write(f"{name}: {type(error).__name__}: {str(error)[:200]}; {engine.keep(name, data)}\n")
                sys.stdout.flush()
        round_ += 1
    counts = ", ".join(f"{count} {name}" for name, count in tried.items())
    sys.stdout.write(f"{counts} inputs, {failed} failing, first seed {options.seed}\n")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
