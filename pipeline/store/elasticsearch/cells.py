"""The buckets of a composite aggregation as cells. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from models.json_reader import JsonReader
from models.json_types import JsonObject
from pipeline.domain.counting import Cell, NegativeDefinition
from pipeline.domain.toward_keywords import read_bin


def cells_of(buckets: Iterable[JsonObject]) -> list[Cell]:
    """Posts counted by the whole text: each bucket has its negative posts and the sum of the negative scores."""
    cells = []
    for bucket in buckets:
        fields = JsonReader(bucket)
        key, negative = JsonReader(fields.object("key")), JsonReader(fields.object("negative"))
        cells.append(
            Cell(
                _start(key),
                key.text("topic", ""),
                key.text("subjects", ""),
                fields.whole("doc_count"),
                negative.whole("doc_count"),
                key.text("source", ""),
                JsonReader(fields.object("score")).number("value"),
            )
        )
    return cells


def cells_toward(buckets: Iterable[JsonObject], rule: NegativeDefinition) -> list[Cell]:
    """Posts counted by the sentiment toward a subject, a cell per class and binned score."""
    cells = []
    for bucket in buckets:
        fields = JsonReader(bucket)
        key, posts = JsonReader(fields.object("key")), fields.whole("doc_count")
        found = read_bin(key.text("toward_bins"))
        negatives = posts if rule.holds_toward(found.label, found.score) else 0
        topic, source = key.text("topic", ""), key.text("source", "")
        cells.append(Cell(_start(key), topic, found.subject, posts, negatives, source, posts * found.score))
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


def _start(key: JsonReader) -> int:
    return int(key.number("bucket")) // 1000
