"""Which posts a person should label next. Pure.

A post is worth more the less sure the model is of it (1 - margin between its two likeliest classes is not in the
index; 1 - score stands for it: least confidence, Lewis and Gale 1994), and where it stands in an alert's evidence.
Within a topic the most uncertain come first; topics take turns, so that no topic fills the queue.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import zip_longest
from typing import Any

EVIDENCE_BONUS = 0.25


def worth(document: Mapping[str, Any], head: str, evidence: frozenset[str]) -> float:
    """In [0, 1.25]: the doubt about `head`, and a bonus for a post that an alert shows."""
    doubt = 1.0 - float(document.get(f"{head}_score", 1.0))
    return doubt + (EVIDENCE_BONUS if document["_id"] in evidence else 0.0)


def queue(
    documents: Iterable[Mapping[str, Any]],
    labelled: frozenset[str],
    evidence: frozenset[str],
    head: str,
    limit: int,
) -> list[dict[str, Any]]:
    """At most `limit` posts, topics in turn; reposts and what is labelled already are left out.

    `labelled` and `evidence` are document ids.
    """
    by_topic: dict[str, list[tuple[float, Mapping[str, Any]]]] = defaultdict(list)
    for document in documents:
        if not document["repost"] and not document["corrected"] and document["_id"] not in labelled:
            by_topic[document["topic"]].append((worth(document, head, evidence), document))
    rows = [sorted(topic, key=lambda r: (-r[0], r[1]["_id"])) for topic in by_topic.values()]
    rows.sort(key=lambda topic: -topic[0][0])
    turns = [item for turn in zip_longest(*rows) for item in turn if item is not None]
    return [{**document, "worth": round(value, 4)} for value, document in turns[:limit]]
