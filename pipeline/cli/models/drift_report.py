"""Measures how far the newest posts have moved from the ones that a model was made on."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta

from models.drift import distances, profile
from models.json_types import JsonObject
from pipeline.classify.stage import Classifier
from pipeline.store.protocol import AnnotatedPostStore


def drift_of(store: AnnotatedPostStore, engine: Classifier, days: float, limit: int) -> JsonObject:
    """Distances from the reference of the model with intervals, expected accuracy, unknown tokens, agreement.

    `agreement_with_labels` is the share of the newest 1,000 annotations that agree with the model, by head.
    """
    bounds, then = store.bounds(), engine.reference
    documents = []
    if bounds is not None:
        end = bounds[1] + timedelta(seconds=1)
        documents = [d for d in store.documents(end - timedelta(days=days), end) if not d.repost][-limit:]
    if then is None or not documents:
        return {"posts": 0}
    texts = [d.post.full_text for d in documents]
    now = profile(texts, engine.predict(texts), engine.unknown_share(texts))
    newest: dict[str, list[bool]] = {}
    for annotation in list(store.annotations())[-1000:]:
        if annotation.suggested:
            newest.setdefault(annotation.head, []).append(annotation.suggested == annotation.label)
    return {
        "model": f"{engine.name} {engine.version}",
        "posts": len(documents),
        "distances": {name: asdict(d) for name, d in distances(then, now).items()},
        "expected_accuracy": {
            h: {"now": round(v, 4), "reference": round(then.expected_accuracy.get(h, 0.0), 4)}
            for h, v in now.expected_accuracy.items()
        },
        "unknown_tokens": {"now": now.unknown_tokens, "reference": then.unknown_tokens},
        "agreement_with_labels": {h: round(sum(x) / len(x), 4) for h, x in newest.items()},
    }
