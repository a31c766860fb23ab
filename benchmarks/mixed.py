"""`python -m benchmarks.mixed DATA OUT.jsonl`: texts of the labelled sets in the folder DATA, for the benches."""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from benchmarks.labelled_rows import all_rows

SETS = (
    "ag_news.test", "tweeteval_sentiment.test", "thucnews10.dev", "tnews.dev",
    "smp2020_usual.test", "chnsenticorp.test", "waimai_10k.all", "online_shopping_10_cats.all",
)  # fmt: skip
OF_EACH = 1800


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mixed")
    parser.add_argument("data", type=Path, help="folder with NAME.jsonl.gz")
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    rng, posts = random.Random(7), []
    for name in SETS:
        texts = [row["text"] for row in all_rows(given.data / f"{name}.jsonl.gz")]
        chosen = rng.sample(texts, min(OF_EACH, len(texts)))
        posts += [{"v": 1, "id": f"{name}-{i}", "source": name, "text": text} for i, text in enumerate(chosen)]
    rng.shuffle(posts)
    lines_out = (json.dumps(post, ensure_ascii=False) for post in posts)
    given.out.write_text("\n".join(lines_out) + "\n", "utf-8")
    print(f"{len(posts)} posts in {given.out}")


if __name__ == "__main__":
    main()
