"""Measures how far the newest posts have moved from the ones that a model was made on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from models.drift import Distance, distances, profile
from pipeline.classify.stage import Classifier
from pipeline.store.protocol import AnnotatedPostStore


@dataclass(frozen=True, slots=True)
class ThenAndNow:
    """A figure of the newest posts, and the same figure of the reference."""

    now: float
    reference: float


@dataclass(frozen=True, slots=True)
class DriftReport:
    """How far `posts` posts have moved from the reference of the model, with intervals, by head where it has heads.

    `agreement_with_labels` is the share of the newest 1,000 annotations that agree with the model.
    """

    model: str
    posts: int
    distances: dict[str, Distance]
    expected_accuracy: dict[str, ThenAndNow]
    unknown_tokens: ThenAndNow
    agreement_with_labels: dict[str, float]


def drift_of(store: AnnotatedPostStore, engine: Classifier, days: float, limit: int) -> DriftReport | None:
    """Compares the posts of the last `days` with the reference; None if there are no such posts or no reference."""
    bounds, then = store.bounds(), engine.reference
    documents = []
    if bounds is not None:
        end = bounds[1] + timedelta(seconds=1)
        documents = [d for d in store.documents(end - timedelta(days=days), end) if not d.repost][-limit:]
    if then is None or not documents:
        return None
    texts = [d.post.full_text for d in documents]
    now = profile(texts, engine.predict(texts), engine.unknown_share(texts))
    newest: dict[str, list[bool]] = {}
    for annotation in list(store.annotations())[-1000:]:
        if annotation.suggested:
            newest.setdefault(annotation.head, []).append(annotation.suggested == annotation.label)
    return DriftReport(
        model=f"{engine.name} {engine.version}",
        posts=len(documents),
        distances=distances(then, now),
        expected_accuracy={
            head: ThenAndNow(round(accuracy, 4), round(then.expected_accuracy.get(head, 0.0), 4))
            for head, accuracy in now.expected_accuracy.items()
        },
        unknown_tokens=ThenAndNow(now.unknown_tokens, then.unknown_tokens),
        agreement_with_labels={head: round(sum(agreed) / len(agreed), 4) for head, agreed in newest.items()},
    )
