"""Statistics over all annotations, and their export as rows. Reads the store only."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import combinations

from models.agreement import cohen_kappa
from models.json_types import JsonObject
from pipeline.annotation.targets import target_fields
from pipeline.classify.subjects import SubjectMatcher
from pipeline.domain.annotation import Annotation
from pipeline.store.protocol import AnnotationStore


def summary(annotations: list[Annotation]) -> JsonObject:
    """Counts per head and annotator, the share of the model's suggestions that were right, Cohen's kappa per pair."""
    heads: dict[str, JsonObject] = {}
    by_head: dict[str, dict[str, dict[tuple[str, str], str]]] = defaultdict(lambda: defaultdict(dict))
    for annotation in annotations:
        by_head[annotation.head][annotation.annotator][annotation.post, annotation.subject] = annotation.label
    for head in by_head:
        mine = [annotation for annotation in annotations if annotation.head == head]
        judged = [annotation for annotation in mine if annotation.suggested]
        heads[head] = {
            "classes": dict(Counter(annotation.label for annotation in mine).most_common()),
            "annotators": dict(Counter(annotation.annotator for annotation in mine).most_common()),
            "model_right": sum(annotation.suggested == annotation.label for annotation in judged) / len(judged)
            if judged
            else None,
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
    return {
        "labels": len(annotations),
        "texts": len({annotation.post for annotation in annotations}),
        "heads": heads,
        "agreement": agreement,
    }


def exported(store: AnnotationStore, subjects: SubjectMatcher) -> Iterator[JsonObject]:
    """Yields one row per text and annotator, and one more per subject, with the mention of it that `subjects` finds."""
    rows: dict[tuple[str, str, str], JsonObject] = {}
    for annotation in store.annotations():
        about = {"subject": annotation.subject, **target_fields(annotation, subjects)} if annotation.subject else {}
        row = rows.setdefault(
            (annotation.post, annotation.annotator, annotation.subject),
            {
                "post": annotation.post,
                "text": annotation.text,
                **about,
                "source": annotation.source,
                "lang": annotation.lang,
                "annotator": annotation.annotator,
                "at": annotation.at.isoformat(),
                "labels": {},
                "suggested": {},
                "model": annotation.model,
            },
        )
        row["labels"][annotation.head] = annotation.label
        row["at"] = annotation.at.isoformat()
        if annotation.suggested:
            row["suggested"][annotation.head] = annotation.suggested
    yield from rows.values()
