"""Scores of a model for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def score_lines(after: dict[str, Any], before: dict[str, Any]) -> Iterator[str]:
    """A line per set and head; `before` holds the scores of the base model, by set and head, where there is one."""
    for key, row in after.items():
        low, high = row["interval"]["accuracy"]
        old = f", before {before[key]['accuracy']:.3f} and {before[key]['macro_f1']:.3f}" if key in before else ""
        wrong = f"  wrong negatives {row['wrong_negatives']:.3f}" if "wrong_negatives" in row else ""
        yield (
            f"{key:40} accuracy {row['accuracy']:.3f} ({low:.3f} to {high:.3f})  "
            f"precision {row['macro_precision']:.3f}  recall {row['macro_recall']:.3f}  "
            f"macro F1 {row['macro_f1']:.3f}{wrong}{old}  {row['rows']} rows"
        )
