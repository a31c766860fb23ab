"""Chooses the posts that people should label next."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from models.aliases import CHALLENGER
from models.engine import OnnxEngine
from models.json_types import JsonObject
from models.registry import Registry
from pipeline.annotation.queue import Candidate, candidates, frequencies, in_turns, new_words
from pipeline.classify.model_provider import open_classifier
from pipeline.cli.terminal import err
from pipeline.domain.errors import Fatal
from pipeline.settings import Settings
from pipeline.store.protocol import Store

#: Texts that the challenger classifies at once.
_BATCH = 512


def candidates_to_label(settings: Settings, store: Store, period: timedelta, head: str, limit: int) -> list[Candidate]:
    """At most `limit` posts without a label from the last `period` of event time."""
    bounds = store.bounds()
    if bounds is None:
        return []
    end = bounds[1] + timedelta(seconds=1)
    start = end - period
    found = candidates(
        store.documents(start, end),
        labelled=frozenset(x.post for x in store.annotations()),
        evidence=frozenset(post.id for alert in store.alerts(limit=100) for post in alert.evidence),
        new=new_words(frequencies(store.documents(start, end)), frequencies(store.documents(start - period, start))),
        head=head,
        per_topic=limit,
    )
    challenger = _challenger(settings)
    if challenger is not None and head in challenger.heads:
        found = _judged(found, challenger, head)
    return in_turns(found, limit)


def _challenger(settings: Settings) -> OnnxEngine | None:
    """The challenger; None where there is none, where it is the champion, or where it cannot be opened."""
    if not settings.model.registry:
        return None
    try:
        registry = Registry(settings.model.registry, trusted=settings.model.trusted_keys)
        version = registry.alias(CHALLENGER)
        if version is None or version == registry.alias(settings.model.alias):
            return None
        return open_classifier(settings.model.model_copy(update={"alias": CHALLENGER}))
    except (Fatal, ValueError) as error:
        err.print(f"the queue does not consult the challenger: {error}", markup=False)
        return None


def _judged(found: list[Candidate], challenger: OnnxEngine, head: str) -> list[Candidate]:
    labels: list[str] = []
    for start in range(0, len(found), _BATCH):
        texts = [c.document.post.full_text for c in found[start : start + _BATCH]]
        labels += [p.label(head) for p in challenger.predict(texts)]
    return [
        replace(c, challenger=label) if label != c.document.labels.get(head) else c
        for c, label in zip(found, labels, strict=True)
    ]


def candidate_json(candidate: Candidate) -> JsonObject:
    document, post, scored = candidate.document, candidate.document.post, candidate.document.scored
    return {
        "post": document.id,
        "title": post.title,
        "text": post.text,
        "url": post.url,
        "source": post.source,
        "lang": post.lang,
        "worth": round(candidate.worth, 4),
        "why": candidate.why,
        "suggested": dict(document.labels),
        "toward": {subject: toward.label for subject, toward in document.toward.items()},
        "model": {"name": scored.model_name, "version": scored.model_version},
    }
