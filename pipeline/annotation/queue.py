"""Chooses the posts that people should annotate next. Pure.

The priority of a post rises

- with the model's uncertainty about it (least confidence, Lewis and Gale 1994),
- where the challenger gives another label (query by committee, Seung et al. 1992),
- with the number of its words that have become much more frequent,
- where it is evidence of an alert.

The queue takes one post of each topic in turn, by descending priority, so that no topic fills it. Where the model has
no topics, it takes turns over the classes of the head in question.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from scipy.special import betainc

from pipeline.alerting.alerts.terms import words
from pipeline.domain.counting import TOWARD_HEAD
from pipeline.domain.post_document import PostDocument

BONUS = 0.25
#: This many new words earn the whole bonus.
_ENOUGH_NEW = 2
#: Significance level of a new word: by chance, one in 30,000 tested words reaches it.
_BY_CHANCE = 1 / 30_000
#: A larger vocabulary drops the words that occur in a single post.
_MOST_WORDS = 500_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """A post with the model's uncertainty `doubt` in [0, 1]; `challenger` is the challenger's label if it differs."""

    document: PostDocument
    topic: str
    doubt: float
    in_alert: bool = False
    new: tuple[str, ...] = ()
    challenger: str = ""

    @property
    def worth(self) -> float:
        """The priority, in [0, 1.75]."""
        new = min(1.0, len(self.new) / _ENOUGH_NEW)
        return self.doubt + BONUS * (self.in_alert + bool(self.challenger) + new)

    @property
    def why(self) -> list[str]:
        """Why the post is in the queue, for the annotator."""
        return [
            f"unsure ({1 - self.doubt:.2f})",
            *([f"the challenger says {self.challenger}"] if self.challenger else []),
            *([f"new words: {', '.join(self.new)}"] if self.new else []),
            *(["evidence of an alert"] if self.in_alert else []),
        ]


def frequencies(documents: Iterable[PostDocument]) -> Counter[str]:
    """The number of posts that contain each word; a post and its reposts count once."""
    found: Counter[str] = Counter()
    for document in documents:
        if not document.repost:
            found.update(set(words(document.post.full_text)))
        if len(found) > _MOST_WORDS:
            found = Counter({word: n for word, n in found.items() if n > 1})
    return found


def new_words(now: Counter[str], before: Counter[str]) -> frozenset[str]:
    """Words far more frequent in `now` than in `before`, by the binomial test; none where `before` is empty."""
    if not before:
        return frozenset()
    names = list(now)
    k, earlier = (np.array([counts[word] for word in names], np.float64) for counts in (now, before))
    # P(X >= k), X ~ Binomial(k + earlier, share of all words that stand in `now`).
    chance = betainc(k, earlier + 1, now.total() / (now.total() + before.total()))
    return frozenset(word for word, p in zip(names, chance, strict=True) if p < _BY_CHANCE)


def candidates(
    documents: Iterable[PostDocument],
    *,
    labelled: frozenset[str],
    evidence: frozenset[str],
    new: frozenset[str],
    head: str,
    per_topic: int,
) -> list[Candidate]:
    """The `per_topic` posts of highest priority of each topic, without reposts and posts already labelled.

    `labelled` and `evidence` are document ids. Holds no more documents in memory than it returns.
    """
    by_topic: dict[str, list[tuple[float, str, Candidate]]] = defaultdict(list)
    for document in documents:
        key = document.id
        if document.repost or document.corrected or key in labelled:
            continue
        if head == TOWARD_HEAD and not document.scored.subjects:
            continue
        fresh = tuple(sorted(new.intersection(words(document.post.full_text))))[:6]
        topic = document.topic or document.labels.get(head, "")
        made = Candidate(document, topic, _doubt(document, head), key in evidence, fresh)
        kept = by_topic[topic]
        if len(kept) < per_topic:
            heapq.heappush(kept, (made.worth, key, made))
        else:
            heapq.heappushpop(kept, (made.worth, key, made))
    return [made for kept in by_topic.values() for _, _, made in kept]


def _doubt(document: PostDocument, head: str) -> float:
    """How unsure the model was; for the head `toward`, about the subject that it was least sure about."""
    if head == TOWARD_HEAD:
        return 1.0 - min((t.score for t in document.toward.values()), default=1.0)
    return 1.0 - document.scores.get(head, 1.0)


def in_turns(found: Sequence[Candidate], limit: int) -> list[Candidate]:
    """At most `limit` candidates, one of each topic in turn, starting with the topic of the highest priority."""
    by_topic: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in sorted(found, key=lambda c: (-c.worth, c.document.id)):
        by_topic[candidate.topic].append(candidate)
    return [c for turn in zip_longest(*by_topic.values()) for c in turn if c is not None][:limit]
