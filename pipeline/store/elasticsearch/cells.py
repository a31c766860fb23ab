"""The buckets of a composite aggregation as cells. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from models.json_types import JsonObject
from pipeline.domain.counting import Cell, NegativeDefinition
from pipeline.domain.toward_keywords import read_bin


def cells_of(buckets: Iterable[JsonObject]) -> list[Cell]:
    """Posts counted by the whole text: each bucket has its negative posts and the sum of the negative scores."""
    return [
        Cell(
            _start(b),
            b["key"].get("topic", ""),
            b["key"].get("subjects", ""),
            b["doc_count"],
            b["negative"]["doc_count"],
            b["key"].get("source", ""),
            b["score"]["value"],
        )
        for b in buckets
    ]


def cells_toward(buckets: Iterable[JsonObject], rule: NegativeDefinition) -> list[Cell]:
    """Posts counted by the sentiment toward a subject, a cell per class and binned score."""
    cells = []
    for b in buckets:
        found, posts = read_bin(b["key"]["toward_bins"]), b["doc_count"]
        negatives = posts if rule.holds_toward(found.label, found.score) else 0
        topic, source = b["key"].get("topic", ""), b["key"].get("source", "")
        cells.append(Cell(_start(b), topic, found.subject, posts, negatives, source, posts * found.score))
    return cells


def merged(cells: Iterable[Cell]) -> list[Cell]:
    """One cell for each bucket, topic, subject and source."""
    parts: defaultdict[tuple[int, str, str, str], list[Cell]] = defaultdict(list)
    for cell in cells:
        parts[cell.bucket, cell.topic, cell.subject, cell.source].append(cell)
    return [
        Cell(
            bucket,
            topic,
            subject,
            sum(c.posts for c in same),
            sum(c.negatives for c in same),
            source,
            sum(c.score_sum for c in same),
        )
        for (bucket, topic, subject, source), same in parts.items()
    ]


def _start(bucket: JsonObject) -> int:
    return int(bucket["key"]["bucket"]) // 1000
