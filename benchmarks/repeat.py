"""`python -m benchmarks.repeat [--times 10] [--load 3]`: whether the demo gives the same alerts, under load."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

SHOWN = ("key", "severity", "started_at", "resolved_at", "observed", "expected")
BUSY = "import os; os.nice(5)\nwhile True: pass"
DEMO = "from pipeline.cli.main import main; main()"


def main() -> int:
    """Prints how often each list of alerts came; exit code 1 where there is more than one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--load", type=int, default=3, help="Processes that only keep the processor busy.")
    asked = parser.parse_args()
    found: dict[str, int] = {}
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(asked.load)]
    try:
        for number in range(asked.times):
            done = subprocess.run(
                [sys.executable, "-c", DEMO, "demo", "--once", "--json", "--no-console"],
                capture_output=True,
                check=True,
                text=True,
            )
            summary = json.loads(done.stdout)
            alerts = json.dumps([[alert[name] for name in SHOWN] for alert in summary["alerts"]])
            found[alerts] = found.get(alerts, 0) + 1
            print(f"{number + 1}: {summary['consumed']} posts, {summary['posts_per_s']} a second: {alerts}", flush=True)
    finally:
        for process in busy:
            process.kill()
    print(f"{len(found)} lists of alerts in {asked.times} runs under {asked.load} busy processes")
    return int(len(found) > 1)


if __name__ == "__main__":
    raise SystemExit(main())
