"""Statistics over all annotations, and their export as rows. Reads the store only."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from models.agreement import cohen_kappa
from models.json_types import JsonObject
from pipeline.annotation.targets import target_fields
from pipeline.domain.annotation import Annotation
from pipeline.store.protocol import AnnotationStore

if TYPE_CHECKING:
    from pipeline.classify.subjects import SubjectMatcher


@dataclass(frozen=True, slots=True)
class HeadSummary:
    """Annotations by class and by annotator; `model_right` is the share of the model's suggestions that were right."""

    classes: dict[str, int]
    annotators: dict[str, int]
    model_right: float | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """Cohen's kappa of two annotators over the texts that both annotated."""

    head: str
    annotators: tuple[str, str]
    texts: int
    kappa: float


@dataclass(frozen=True, slots=True)
class Summary:
    """How many annotations there are on how many texts, by head, and how far each pair of annotators agrees."""

    labels: int
    texts: int
    heads: dict[str, HeadSummary]
    agreement: tuple[Agreement, ...]


@dataclass(frozen=True, slots=True)
class ExportedText:
    """What one annotator said about one text, or in it about `subject`, which the fields of `target` name.

    `at` is the time of the last annotation (ISO 8601).
    """

    post: str
    text: str
    subject: str
    target: JsonObject
    source: str
    lang: str
    annotator: str
    at: str
    labels: dict[str, str]
    suggested: dict[str, str]
    model: str

    def to_json(self) -> JsonObject:
        """A line of the exported file."""
        return {
            "post": self.post,
            "text": self.text,
            **({"subject": self.subject, **self.target} if self.subject else {}),
            "source": self.source,
            "lang": self.lang,
            "annotator": self.annotator,
            "at": self.at,
            "labels": self.labels,
            "suggested": self.suggested,
            "model": self.model,
        }


def summary(annotations: list[Annotation]) -> Summary:
    """Counts the annotations, and compares the annotators with the model and with each other."""
    heads: dict[str, HeadSummary] = {}
    by_head: dict[str, dict[str, dict[tuple[str, str], str]]] = defaultdict(lambda: defaultdict(dict))
    for annotation in annotations:
        by_head[annotation.head][annotation.annotator][annotation.post, annotation.subject] = annotation.label
    for head in by_head:
        mine = [annotation for annotation in annotations if annotation.head == head]
        judged = [annotation for annotation in mine if annotation.suggested]
        right = sum(annotation.suggested == annotation.label for annotation in judged)
        heads[head] = HeadSummary(
            classes=dict(Counter(annotation.label for annotation in mine).most_common()),
            annotators=dict(Counter(annotation.annotator for annotation in mine).most_common()),
            model_right=right / len(judged) if judged else None,
        )
    agreement: list[Agreement] = []
    for head, people in by_head.items():
        for one, other in combinations(sorted(people), 2):
            both = people[one].keys() & people[other].keys()
            if both:
                kappa = cohen_kappa([(people[one][p], people[other][p]) for p in both])
                agreement.append(Agreement(head, (one, other), len(both), round(kappa, 4)))
    texts = len({annotation.post for annotation in annotations})
    return Summary(len(annotations), texts, heads, tuple(agreement))


def exported(store: AnnotationStore, subjects: SubjectMatcher) -> Iterator[ExportedText]:
    """Yields one row per text and annotator, and one more per subject, with the mention of it that `subjects` finds."""
    rows: dict[tuple[str, str, str], list[Annotation]] = defaultdict(list)
    for annotation in store.annotations():
        rows[annotation.post, annotation.annotator, annotation.subject].append(annotation)
    for said in rows.values():
        first = said[0]
        yield ExportedText(
            post=first.post,
            text=first.text,
            subject=first.subject,
            target=target_fields(first, subjects) if first.subject else {},
            source=first.source,
            lang=first.lang,
            annotator=first.annotator,
            at=said[-1].at.isoformat(),
            labels={each.head: each.label for each in said},
            suggested={each.head: each.suggested for each in said if each.suggested},
            model=first.model,
        )
