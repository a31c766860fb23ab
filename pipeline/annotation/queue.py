"""Which posts a person should label next. Pure.

A post is worth more

- the less sure the model is of it (least confidence, Lewis and Gale 1994),
- where the challenger says something else (query by committee, Seung et al. 1992),
- the more of its words are new: in this time far more often than in the time before,
- where it stands in an alert's evidence.

Topics take turns, so that none fills the queue; within a topic the worthiest come first. Where the model has no topics,
the classes of the head in question take turns.
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
from pipeline.domain.post_document import PostDocument

BONUS = 0.25
#: So many new words have the whole bonus.
_ENOUGH_NEW = 2
#: So seldom is a word as much more frequent by chance that is called new: of 30,000 words tested, one.
_BY_CHANCE = 1 / 30_000
#: A vocabulary beyond this forgets the words of one post.
_MOST_WORDS = 500_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """A post document; `doubt` in [0, 1]; `challenger` is what that model says where it says something else."""

    document: PostDocument
    topic: str
    doubt: float
    in_alert: bool = False
    new: tuple[str, ...] = ()
    challenger: str = ""

    @property
    def worth(self) -> float:
        """In [0, 1.75]."""
        new = min(1.0, len(self.new) / _ENOUGH_NEW)
        return self.doubt + BONUS * (self.in_alert + bool(self.challenger) + new)

    @property
    def why(self) -> list[str]:
        """For the person who labels."""
        return [
            f"unsure ({1 - self.doubt:.2f})",
            *([f"the challenger says {self.challenger}"] if self.challenger else []),
            *([f"new words: {', '.join(self.new)}"] if self.new else []),
            *(["evidence of an alert"] if self.in_alert else []),
        ]


def frequencies(documents: Iterable[PostDocument]) -> Counter[str]:
    """In how many posts each word stands; reposts count once."""
    found: Counter[str] = Counter()
    for document in documents:
        if not document.repost:
            found.update(set(words(document.post.full_text)))
        if len(found) > _MOST_WORDS:
            found = Counter({word: n for word, n in found.items() if n > 1})
    return found


def new_words(now: Counter[str], before: Counter[str]) -> frozenset[str]:
    """Those that `now` has far more often than `before`, by the binomial test; none where there was nothing before."""
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
    """The worthiest `per_topic` of each topic; reposts and what is labelled already are left out.

    `labelled` and `evidence` are document ids. Keeps no more documents than it returns.
    """
    by_topic: dict[str, list[tuple[float, str, Candidate]]] = defaultdict(list)
    for document in documents:
        key = document.id
        if document.repost or document.corrected or key in labelled:
            continue
        fresh = tuple(sorted(new.intersection(words(document.post.full_text))))[:6]
        topic = document.topic or document.labels.get(head, "")
        made = Candidate(document, topic, 1.0 - document.scores.get(head, 1.0), key in evidence, fresh)
        kept = by_topic[topic]
        if len(kept) < per_topic:
            heapq.heappush(kept, (made.worth, key, made))
        else:
            heapq.heappushpop(kept, (made.worth, key, made))
    return [made for kept in by_topic.values() for _, _, made in kept]


def in_turns(found: Sequence[Candidate], limit: int) -> list[Candidate]:
    """At most `limit`, topics in turn, the topic of the worthiest first."""
    by_topic: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in sorted(found, key=lambda c: (-c.worth, c.document.id)):
        by_topic[candidate.topic].append(candidate)
    return [c for turn in zip_longest(*by_topic.values()) for c in turn if c is not None][:limit]
