"""`python -m benchmarks.language DATA`: how often the detected language of a post is right, and what a post costs."""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from pathlib import Path

from benchmarks.labelled_rows import all_rows
from pipeline.classify.language import detect

SETS = {
    "en": ("tweeteval_sentiment.test", "tweeteval_irony.val", "semeval2017_4a.train", "ag_news.test"),
    "zh": ("waimai_10k.all", "tnews.dev", "smp2020_usual.dev", "smp2020_virus.dev", "bdci2018_car.train",
           "chnsenticorp.dev", "online_shopping_10_cats.all"),
}  # fmt: skip
OF_EACH = 2000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.language")
    parser.add_argument("data", type=Path, help="folder with NAME.jsonl.gz")
    given = parser.parse_args()
    rng = random.Random(7)
    for expected, names in SETS.items():
        for name in names:
            texts = [row["text"] for row in all_rows(given.data / f"{name}.jsonl.gz")]
            chosen = rng.sample(texts, min(OF_EACH, len(texts)))
            start = time.process_time()
            found = Counter(map(detect, chosen))
            each = (time.process_time() - start) / len(chosen)
            others = ", ".join(f"{code} {count}" for code, count in found.most_common(5) if code != expected)
            print(f"{name:30} {expected} {found[expected] / len(chosen):.4f}  {each * 1e6:3.0f} us  {others}")


if __name__ == "__main__":
    main()
