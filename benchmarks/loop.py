"""`python -m benchmarks.loop DATA`: the loop on a real model: a new word comes up, is corrected, learned, rolled back.

Real Kafka, Elasticsearch and worker, the starter (`--bundle`), and posts that it was not trained on: test tweets and
Weibo posts as they are, then others of them, not negative, with a word of complaint that no training set holds (拉胯,
"mid") and that makes them so. 500 are corrected; a quarter of the phrases stands in fresh posts only. Last, 500 labels
that are wrong on purpose.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from pipeline.domain.post import document_id
from pipeline.domain.post_document import PostDocument
from tests.builders import START
from tests.chaos.services import Services
from tests.system import System, drained, until
from tests.training.conftest import write_jsonl
from training.data.examples import read_rows

FILES = {"en": "tweeteval_sentiment.test.jsonl.gz", "zh": "smp2020_usual.test.jsonl.gz"}
PHRASES = {
    "en": ("This is so mid.", "Honestly mid.", "mid as ever", "it turned out mid", "mid, just mid", "why is it so mid",
           "Peak mid.", "how can anything be this mid"),
    "zh": ("真拉胯", "太拉胯了", "结果拉胯", "拉胯得不行", "怎么这么拉胯", "又拉胯了", "全程拉胯", "拉胯到家了"),
}  # fmt: skip
WORDS = ("mid", "拉胯")
#: Of each language's phrases, those that stand in fresh posts only.
HELD_BACK = 2
USUAL, SLANG, CORRECTED, FRESH, GOLDEN = 1600, 700, 500, 200, 1200
#: Days of the stream over which posts come as they are, and over which the new word comes.
DAYS, SLANG_DAYS = (0.0, 6.0), (5.0, 6.0)
QUEUE, RETRAIN_S, SERVING_S = 100, 1800.0, 120.0


class Stream:
    """Rows of the test files in turns of language, each used once."""

    def __init__(self, data: Path) -> None:
        self._rows = {lang: [r for r in read_rows(data / file) if r.get("sentiment")] for lang, file in FILES.items()}
        for rows in self._rows.values():
            random.Random(7).shuffle(rows)

    def take(self, n: int) -> list[dict[str, Any]]:
        """Rows as they are."""
        return [self._rows[lang].pop() for _ in range(n // 2) for lang in FILES]

    def complaints(self, n: int, phrases: slice) -> list[str]:
        """Texts that would not be negative, were it not for the phrase at their end; in turns of language."""
        made: list[list[str]] = []
        for lang in FILES:
            said = PHRASES[lang][phrases]
            calm = [r for r in self._rows[lang] if r["sentiment"] != "negative"][: n // 2]
            self._rows[lang] = [r for r in self._rows[lang] if r not in calm]
            made.append([f"{row['text']} {said[i % len(said)]}" for i, row in enumerate(calm)])
        return [text for turn in zip(*made, strict=True) for text in turn]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loop")
    parser.add_argument("data", type=Path, help="the folder of research files")
    parser.add_argument("--bundle", type=Path, default=Path("models/starter"))
    options = parser.parse_args()
    services = Services()
    try:
        folder = Path(tempfile.mkdtemp(prefix="bench-loop-"))
        system = System(services.broker("one"), services.elasticsearch.url, folder)
        try:
            play(system, folder, Stream(options.data), options.bundle)
        finally:
            for worker in system.workers:
                worker.kill()
    finally:
        services.close()
    return 0


def play(system: System, folder: Path, stream: Stream, bundle: Path) -> None:
    golden = write_jsonl(folder / "golden.jsonl", [row_of(r["text"], r["sentiment"]) for r in stream.take(GOLDEN)])
    system.env |= {
        "OPINIONWATCH_MODEL__REGISTRY": str(folder / "registry"),
        "OPINIONWATCH_MODEL__POLL_S": "1",
        "OPINIONWATCH_TRAINING__WORK": str(folder / "work"),
        "OPINIONWATCH_TRAINING__GOLDEN": json.dumps([str(golden)]),
    }
    system.cli("setup")
    champion = str(system.cli("models", "register", str(bundle), "--json")["id"])
    system.cli("models", "promote", champion)
    system.run("classify")
    send(system, [r["text"] for r in stream.take(USUAL)], "usual", DAYS)
    usual = drift(system)
    slang = stream.complaints(SLANG, slice(None, -HELD_BACK))
    send(system, slang, "slang", SLANG_DAYS)
    tell("distances from the training reference, bits", json.dumps(usual))
    tell("and of the day with the new word", json.dumps(drift(system)))
    queue = system.cli("labels", "queue", "--limit", str(QUEUE), "--days", "1", "--json")
    named = sum(
        any(word in why for why in row["why"] if why.startswith("new words") for word in WORDS) for row in queue
    )
    tell("of the posts to label next, those asked for because of the new word", f"{named} of {len(queue)}")
    tell("the champion calls negative, of posts with the new word", share(system, "slang", SLANG))
    correct(system, folder, slang[:CORRECTED], "slang", "negative", "ann")
    done = retrain(system)
    tell("accuracy by the gate", json.dumps(done["accuracy"]))
    if done["outcome"] != "promoted":
        raise SystemExit(f"{done['outcome']}: {done['reason']}")
    tell("seconds until the worker labels by it", f"{until_serving(system, done['challenger']):.1f}")
    for name, phrases in (("that were corrected", slice(None, -HELD_BACK)), ("that were not", slice(-HELD_BACK, None))):
        fresh, tag = stream.complaints(FRESH, phrases), f"fresh-{phrases.start}-"
        send(system, fresh, tag, SLANG_DAYS)
        tell(f"the new model calls negative, of fresh posts with phrases {name}", share(system, tag, FRESH))
    poison = [r["text"] for r in stream.take(4 * CORRECTED) if r["sentiment"] == "negative"][:CORRECTED]
    send(system, poison, "poison", SLANG_DAYS)
    correct(system, folder, poison, "poison", "positive", "mallory")
    retrain(system)
    before = share(system, "poison", len(poison))
    dropped = system.cli("labels", "drop", "--annotator", "mallory", "--yes", "--json")
    tell("labels taken back, posts", f"{dropped['dropped']}, {dropped['posts']}")
    tell("negative of those posts, before and after", f"{before}, {share(system, 'poison', len(poison))}")
    started = time.monotonic()
    system.cli("models", "rollback", "--reason", "bench")
    until_serving(system, champion)
    tell("seconds from the rollback until the worker labels by the old model", f"{time.monotonic() - started:.1f}")


def send(system: System, texts: Sequence[str], tag: str, days: tuple[float, float]) -> None:
    """Posts `tag0`, `tag1`, ... through Kafka, over those days, and waits until they are in the index."""
    first, last = (START + timedelta(days=d) for d in days)
    step = (last - first) / len(texts)
    posts = [
        {"v": 1, "id": f"{tag}{i}", "source": "bench", "text": text, "published_at": (first + i * step).isoformat()}
        for i, text in enumerate(texts)
    ]
    before = system.status()["consumed"]
    system.ingest(posts)
    until(drained(system, before + len(posts)), 300)
    system.store.refresh()


def correct(system: System, folder: Path, texts: Sequence[str], tag: str, sentiment: str, annotator: str) -> None:
    rows = [
        {"post": document_id("bench", f"{tag}{i}"), "annotator": annotator, **row_of(t, sentiment)}
        for i, t in enumerate(texts)
    ]
    done = system.cli("labels", "import", str(write_jsonl(folder / f"{tag}.jsonl", rows)), "--json")
    tell(f"labels imported, {sentiment}", f"{done['imported']} of {len(texts)}")


def retrain(system: System) -> dict[str, Any]:
    started = time.monotonic()
    done: dict[str, Any] = system.cli("retrain", "--min-new-labels", "100", "--json", timeout_s=RETRAIN_S)
    tell(
        "retrain",
        f"{done['outcome']} after {(time.monotonic() - started) / 60:.1f} min, rows {done['rows']}: {done['reason']}",
    )
    return done


def until_serving(system: System, version: str) -> float:
    """Seconds until a post that is sent now carries the labels of `version`."""
    started = time.monotonic()

    def serves() -> bool:
        tag = f"probe-{time.monotonic_ns()}-"
        send(system, [f"The shop opens at nine, {tag}"], tag, SLANG_DAYS)
        served = post(system, tag, 0).scored
        return f"{served.model_name}-{served.model_version}" == version

    until(serves, SERVING_S)
    return time.monotonic() - started


def share(system: System, tag: str, n: int) -> str:
    return f"{sum(post(system, tag, i).labels['sentiment'] == 'negative' for i in range(n)) / n:.3f} of {n}"


def post(system: System, tag: str, number: int) -> PostDocument:
    found = system.store.post(document_id("bench", f"{tag}{number}"))
    if found is None:
        raise RuntimeError(f"{tag}{number} is not in the index")
    return found


def drift(system: System) -> dict[str, float]:
    found = system.cli("models", "drift", "--days", str(SLANG_DAYS[1] - SLANG_DAYS[0]), "--limit", str(SLANG), "--json")
    return {name: round(distance["value"], 4) for name, distance in found["distances"].items()}


def row_of(text: str, sentiment: str) -> dict[str, Any]:
    return {"text": text, "labels": {"sentiment": sentiment}}


def tell(what: str, found: str) -> None:
    print(f"{what}: {found}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
