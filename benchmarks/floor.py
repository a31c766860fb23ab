"""The linear floor that a trained encoder must clear: `python -m benchmarks.floor`. Needs the research data.

TF-IDF over character n-grams (and words where there are spaces), a linear support-vector machine, its C chosen on a
tenth of the training rows. Rows of a test set that stand in a training file are left out, as they are for the starter.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import accuracy_score, f1_score, recall_score
from sklearn.pipeline import make_pipeline, make_union
from sklearn.svm import LinearSVC

from benchmarks.labelled_rows import read_rows

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
Measure = Callable[[Sequence[str], Sequence[str]], float]
RECALL: Measure = partial(recall_score, average="macro")
F1: Measure = partial(f1_score, average="macro")
#: Test file: training files, field of the label, measure, whether texts have spaces.
SETS: dict[str, tuple[list[str], str, Measure, bool]] = {
    "tweeteval_sentiment.test": (["semeval2017_4a.train"], "sentiment", RECALL, True),
    "ag_news.test": (["ag_news.train_cased", "ag_news.train_lower"], "label", accuracy_score, True),
    "tnews.dev": (["tnews.train"], "label", accuracy_score, False),
    "thucnews10.dev": (["thucnews10.train"], "label", accuracy_score, False),
    "chnsenticorp.test": (["chnsenticorp.train"], "sentiment", accuracy_score, False),
    "smp2020_usual.test": (["smp2020_usual.train"], "label", F1, False),
}


def rows(name: str, field: str) -> list[tuple[str, str]]:
    found = read_rows(DATA / f"{name}.jsonl.gz")
    return [(r["text"].lower(), str(r[field])) for r in found if r.get(field) is not None]


def model(c: float, spaced: bool, balanced: bool) -> Any:
    characters = TfidfVectorizer(analyzer="char_wb" if spaced else "char", ngram_range=(2, 5) if spaced else (1, 3),
                                 min_df=2, sublinear_tf=True)  # fmt: skip
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    features = make_union(characters, words) if spaced else characters
    return make_pipeline(features, LinearSVC(C=c, class_weight="balanced" if balanced else None))


def main() -> None:
    """Prints a line per set."""
    for name in sys.argv[1:] or SETS:
        files, field, measure, spaced = SETS[name]
        tested = rows(name, field)
        held = {text for text, _ in tested}
        given = [row for file in files for row in rows(file, field) if row[0] not in held]
        random.Random(1).shuffle(given)
        tenth, balanced = len(given) // 10, measure is not accuracy_score

        def score(c: float, train: Sequence[Any], test: Sequence[Any]) -> float:
            fitted = model(c, spaced, balanced).fit(*zip(*train, strict=True))  # noqa: B023
            texts, labels = zip(*test, strict=True)
            return measure(labels, fitted.predict(texts))  # noqa: B023

        best = max((0.05, 0.15, 0.5), key=lambda c: score(c, given[tenth:], given[:tenth]))
        print(
            f"{name:28} {score(best, given, tested):.3f}  (C {best}, {len(given)} and {len(tested)} rows)", flush=True
        )


if __name__ == "__main__":
    main()
