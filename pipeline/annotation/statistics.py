"""All labels together: what they say, and as rows of a file. Pure but for reading the store."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import combinations
from typing import Any

from models.agreement import cohen_kappa
from pipeline.domain.annotation import Annotation
from pipeline.store.protocol import AnnotationStore


def summary(labels: list[Annotation]) -> dict[str, Any]:
    """Counts per head and annotator, the model's share of right suggestions, Cohen's kappa per pair."""
    heads: dict[str, dict[str, Any]] = {}
    by_head: dict[str, dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    for x in labels:
        by_head[x.head][x.annotator][x.post] = x.label
    for head in by_head:
        mine = [x for x in labels if x.head == head]
        judged = [x for x in mine if x.suggested]
        heads[head] = {
            "classes": dict(Counter(x.label for x in mine).most_common()),
            "annotators": dict(Counter(x.annotator for x in mine).most_common()),
            "model_right": sum(x.suggested == x.label for x in judged) / len(judged) if judged else None,
        }
    agreement = []
    for head, people in by_head.items():
        for one, other in combinations(sorted(people), 2):
            both = people[one].keys() & people[other].keys()
            if both:
                kappa = cohen_kappa([(people[one][p], people[other][p]) for p in both])
                agreement.append(
                    {"head": head, "annotators": [one, other], "texts": len(both), "kappa": round(kappa, 4)}
                )
    return {"labels": len(labels), "texts": len({x.post for x in labels}), "heads": heads, "agreement": agreement}


def exported(store: AnnotationStore) -> Iterator[dict[str, Any]]:
    """One row per text and annotator."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for x in store.annotations():
        row = rows.setdefault(
            (x.post, x.annotator),
            {"post": x.post, "text": x.text, "source": x.source, "lang": x.lang, "annotator": x.annotator,
             "at": x.at.isoformat(), "labels": {}, "suggested": {}, "model": x.model},
        )  # fmt: skip
        row["labels"][x.head] = x.label
        row["at"] = x.at.isoformat()
        if x.suggested:
            row["suggested"][x.head] = x.suggested
    yield from rows.values()
