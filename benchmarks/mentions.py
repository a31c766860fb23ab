"""`python -m benchmarks.mentions POSTS.jsonl --bundle BUNDLE`: what the sentiment toward subjects costs.

Texts per second of the bundle without mentions, with a mention in a share of the texts, and with `--before` of another
checkout with its own bundle. Each is a process of its own; they take turns on the same texts, so that other load on the
machine hits all of them. The ratios of the processor time are less noisy than those of the time on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

#: Runs in the checkout that is measured, which may be older than this module.
MEASURED = [sys.executable, __file__, "measured"]
_WORD = re.compile(r"[A-Za-z]{3,}|[\u4e00-\u9fff]{2}")


def main() -> None:
    if sys.argv[1:2] == ["measured"]:
        measured(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mentions")
    parser.add_argument("posts", type=Path, help="posts as JSON lines")
    parser.add_argument("--bundle", type=Path, required=True, help="a bundle with the head toward")
    parser.add_argument("--share", type=float, default=0.5, help="share of the texts with a mention")
    parser.add_argument("--before", type=Path, help="another checkout, for comparison")
    parser.add_argument("--before-bundle", type=Path, help="its bundle (default: BUNDLE)")
    parser.add_argument("--texts", type=int, default=600)
    parser.add_argument("--repeat", type=int, default=9)
    given = parser.parse_args()
    here = Path(__file__).resolve().parents[1]
    ways = {"without mentions": (here, given.bundle, 0.0), f"in {given.share:.0%}": (here, given.bundle, given.share)}
    if given.before:
        ways = {"before": (given.before, given.before_bundle or given.bundle, 0.0), **ways}
    running = {name: _started(checkout, bundle, given, share) for name, (checkout, bundle, share) in ways.items()}
    rates: dict[str, list[float]] = {name: [] for name in running}
    processor: dict[str, list[float]] = {name: [] for name in running}
    for turn in range(-1, given.repeat):
        for name, process in running.items():
            process.stdin.write(f"{turn}\n")
            process.stdin.flush()
            seconds, of_processor = map(float, process.stdout.readline().split())
            if turn >= 0:
                rates[name].append(given.texts / seconds)
                processor[name].append(given.texts / of_processor)
    first = next(iter(rates))
    for name, found in rates.items():
        ratio, of_processor = (
            statistics.median(a / b for a, b in zip(of[name], of[first], strict=True)) for of in (rates, processor)
        )
        print(
            f"{name:18} {statistics.median(found):7.0f} texts/s ({min(found):.0f} to {max(found):.0f})   "
            f"x{ratio:.3f}, by processor time x{of_processor:.3f}"
        )
    for process in running.values():
        process.stdin.close()


def _started(checkout: Path, bundle: Path, given: argparse.Namespace, share: float) -> Any:
    arguments = [str(bundle.resolve()), str(given.posts.resolve()), str(given.texts), str(share)]
    environment = {**os.environ, "PYTHONPATH": str(checkout.resolve()), "PYTHONSAFEPATH": "1"}
    return subprocess.Popen(
        [*MEASURED, *arguments], cwd=checkout, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def measured(bundle: str, posts: str, texts: str, share: str) -> None:
    """Answers each number on standard input by the seconds, in all and of the processor, for the texts it draws."""
    from models import load_bundle

    engine = load_bundle(bundle, device="cpu")
    with open(posts, encoding="utf-8") as lines:
        every = [json.loads(line)["text"] for line in lines]
    for line in sys.stdin:
        rng = random.Random(int(line))
        chosen = rng.sample(every, int(texts))
        mentions = [_mention(text) if rng.random() < float(share) else {} for text in chosen]
        started, processor = time.perf_counter(), time.process_time()
        if any(mentions):
            engine.predict(chosen, mentions)
        else:
            engine.predict(chosen)
        print(time.perf_counter() - started, time.process_time() - processor, flush=True)


def _mention(text: str) -> dict[str, list[tuple[int, int]]]:
    """The first word in the first half of a text, or its first character."""
    word = _WORD.search(text)
    return {"subject": [word.span() if word else (0, 1)]} if text else {}


if __name__ == "__main__":
    main()
