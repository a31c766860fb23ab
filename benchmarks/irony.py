"""`python -m benchmarks.irony DATA [--bundle BUNDLE]`: ironic posts read as positive, before and after the doubt.

It also measures what the doubt costs sincere praise, and proposes a threshold for the head `irony`: the lowest that
takes at most `--cost` of the sincere praise away from the class positive, as the mean over the development sets. Before
means the most probable class of the head `sentiment` by itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.labelled_rows import predictions_of, read_rows
from models import load_bundle
from models.heads import SENTIMENT, Prediction
from models.irony import IRONIC, IRONY, POSITIVE, Doubt, doubted
from pipeline.settings import STARTER

HELD_OUT = Path(__file__).parent / "data" / "irony_held_out.jsonl"
SINCERE = ("tweeteval_sentiment.val", "chnsenticorp.dev", "smp2020_usual.dev")
CLASSES = ("negative", "neutral", "positive")
#: Share of ironic posts read as positive that mean something negative: 58 of 70 rows of tweeteval_irony.val by hand.
MEANT_BADLY = 0.83


def positive_share(predictions: Sequence[Prediction], *, after: bool) -> float:
    """Share of the texts that are read as positive."""
    return float(np.mean([_read(p, after=after) == POSITIVE for p in predictions]))


def macro_recall(predictions: Sequence[Prediction], labels: Sequence[str], *, after: bool) -> float:
    read = np.array([_read(p, after=after) for p in predictions])
    expected = np.array(labels)
    return float(np.mean([np.mean(read[expected == c] == c) for c in CLASSES if c in labels]))


def threshold_at(cost: float, sincere: Sequence[Sequence[Prediction]]) -> float:
    """The lowest threshold in hundredths at which irony turns at most the share `cost` of sincere positive posts."""
    read = [[p for p in found if p.most_probable(SENTIMENT) == POSITIVE] for found in sincere]
    for hundredths in range(50, 100):
        doubt = Doubt(hundredths / 100, MEANT_BADLY)
        if np.mean([np.mean([_turned(p, doubt) for p in found]) for found in read]) <= cost:
            return doubt.threshold
    return 1.0


def _turned(prediction: Prediction, doubt: Doubt) -> bool:
    moved = doubt.moved(prediction.probabilities(IRONY)[IRONIC])
    meant = doubted(prediction.probabilities(SENTIMENT), moved)
    return max(meant, key=meant.__getitem__) != POSITIVE


def _read(prediction: Prediction, *, after: bool) -> str:
    return prediction.label(SENTIMENT) if after else prediction.most_probable(SENTIMENT)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.irony")
    parser.add_argument("data", type=Path, help="folder with NAME.jsonl.gz")
    parser.add_argument("--bundle", type=Path, default=STARTER)
    parser.add_argument("--cost", type=float, default=0.005)
    parser.add_argument("--most", type=int, help="rows of each large set (default: all)")
    given = parser.parse_args()
    engine = load_bundle(given.bundle, device="cpu")

    def judged(name: str, most: int | None = None) -> tuple[list[dict[str, str]], list[Prediction]]:
        rows = read_rows(given.data / f"{name}.jsonl.gz", most)
        return rows, predictions_of(engine, rows)

    def show(name: str, predictions: Sequence[Prediction]) -> None:
        before, after = (positive_share(predictions, after=after) for after in (False, True))
        print(f"{name:52} {len(predictions):5}  read as positive {before:.3f} -> {after:.3f}", flush=True)

    rows, found = judged("tweeteval_irony.test")
    for label in ("irony", "not"):
        show(f"tweeteval_irony.test, {label}", [p for r, p in zip(rows, found, strict=True) if r["label"] == label])
    rows = read_rows(HELD_OUT)
    found = predictions_of(engine, rows)
    for lang in ("zh", "en"):
        for irony, name in (("irony", "ironic"), ("not", "sincere praise")):
            wanted = [(r["lang"], r["irony"]) == (lang, irony) for r in rows]
            show(f"held out, {lang}, {name}", [p for p, is_wanted in zip(found, wanted, strict=True) if is_wanted])
    for name, field in (("tweeteval_sentiment.test", "sentiment"), ("chnsenticorp.test", "sentiment")):
        rows, found = judged(name, given.most)
        labels = [r[field] for r in rows]
        before, after = (macro_recall(found, labels, after=after) for after in (False, True))
        print(f"{name:52} {len(rows):5}  macro recall {before:.4f} -> {after:.4f}", flush=True)
    if IRONY in engine.heads:
        sincere: list[list[Prediction]] = []
        for name in SINCERE:
            rows, found = judged(name, given.most)
            sincere.append([p for r, p in zip(rows, found, strict=True) if r.get("sentiment") == POSITIVE])
            show(f"{name}, sincere praise", sincere[-1])
        cost = given.cost
        print(f"threshold that turns {cost} of sincere praise: {threshold_at(cost, sincere):.2f}, weight {MEANT_BADLY}")


if __name__ == "__main__":
    main()
