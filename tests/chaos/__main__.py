"""`python -m tests.chaos [--rows 1,2] [--seeds 5] [--long] [--report FILE]`: the fault table on real services."""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from tests.chaos.rows import ROWS, Row
from tests.chaos.services import Services
from tests.chaos.trial import Trial


def run_row(row: Row, services: Services, seed: int, *, short: bool = True) -> dict[str, Any]:
    """One trial; what was found, never an exception for what did not hold."""
    folder = Path(tempfile.mkdtemp(prefix=f"chaos-{row.number}-"))
    started = time.monotonic()
    result: dict[str, Any] = {"row": row.number, "title": row.title, "seed": seed, "problem": ""}
    trial = Trial(services.broker(row.broker), services.elasticsearch, folder, seed, short=short)
    try:
        row.play(trial, random.Random(seed))
        found, recovered = trial.finish()
        result.update(
            lost=found.lost, doubled=found.doubled, law=found.law, dead=found.dead, stray=found.stray, books=found.books
        )
        result.update(recovery_s=round(recovered, 1), clean=found.clean, notes=trial.notes)
    except Exception as error:
        result.update(clean=False, problem=f"{type(error).__name__}: {error}", notes=trial.notes)
    finally:
        trial.close()
    result["seconds"] = round(time.monotonic() - started, 1)
    if result["clean"]:
        shutil.rmtree(folder, ignore_errors=True)
    return result


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--rows", default="", help="numbers, by default all")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=1, help="to repeat a failing run")
    parser.add_argument("--long", action="store_true", help="outages of 60 s")
    parser.add_argument("--minutes", type=float, default=25.0, help="no row is begun after it")
    parser.add_argument("--report", type=Path, default=None, help="JSON lines")
    options = parser.parse_args()
    wanted = {int(n) for n in options.rows.split(",") if n}
    rows = [r for r in ROWS if not wanted or r.number in wanted]
    services = Services()
    results: list[dict[str, Any]] = []
    ends = time.monotonic() + options.minutes * 60
    try:
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            for row in rows:
                if time.monotonic() > ends:
                    break
                results.append(run_row(row, services, seed, short=not options.long))
                print(line(results[-1]), flush=True)
                if options.report:
                    with options.report.open("a") as file:
                        file.write(json.dumps(results[-1]) + "\n")
    finally:
        services.close()
    print(table(results))
    return 0 if all(r["clean"] for r in results) else 1


def line(r: dict[str, Any]) -> str:
    said = "clean" if r["clean"] else f"FAILED {r['problem'] or r}"
    return f"row {r['row']:>3} seed {r['seed']}  {r['seconds']:6.1f} s  {said}"


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: per row the trials, what was lost and doubled, and the median and the worst recovery."""
    rows: dict[tuple[int, str], list[dict[str, Any]]] = defaultdict(list)
    for r in results:
        rows[(r["row"], r["title"])].append(r)
    lines = ["| row | fault | clean | lost | doubled | recovery, median and worst |", "|---|---|---|---|---|---|"]
    for (number, title), trials in rows.items():
        times = [t["recovery_s"] for t in trials if "recovery_s" in t]
        seen = f"{statistics.median(times):.1f} s, {max(times):.1f} s" if times else "-"
        lost, doubled = (sum(t.get(k, 0) for t in trials) for k in ("lost", "doubled"))
        clean = f"{sum(t['clean'] for t in trials)} of {len(trials)}"
        lines.append(f"| {number} | {title} | {clean} | {lost} | {doubled} | {seen} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
