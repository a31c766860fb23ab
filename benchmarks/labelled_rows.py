"""Rows of a labelled set, and what a bundle says about their texts."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.engine import OnnxEngine
from models.heads import Prediction

_BATCH = 128


def all_rows(file: Path) -> list[dict[str, Any]]:
    """The rows of a `.jsonl` or `.jsonl.gz` file."""
    opened = gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8")
    with opened as lines:
        return [json.loads(line) for line in lines]


def read_rows(file: Path, most: int | None = None) -> list[dict[str, str]]:
    """The rows of a file with the texts that are in no training file; `most` of them at random."""
    rows = [row for row in all_rows(file) if not row.get("dup_in_train")]
    return rows if most is None or most >= len(rows) else random.Random(7).sample(rows, most)  # noqa: S311


def predictions_of(engine: OnnxEngine, rows: Sequence[dict[str, str]]) -> list[Prediction]:
    texts = [row["text"] for row in rows]
    return [p for at in range(0, len(texts), _BATCH) for p in engine.predict(texts[at : at + _BATCH])]
