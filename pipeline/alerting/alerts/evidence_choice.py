"""Which posts an alert shows: strong ones that differ from each other and hold what is new, in each language. Pure.

The choice is greedy, by maximal marginal relevance (Carbonell and Goldstein 1998, "The use of MMR, diversity-based
reranking").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass

from models.text import clean
from pipeline.alerting.alerts.terms import words
from pipeline.domain.post_document import RepostedPost

#: Characters of a post's text that an alert shows.
EXCERPT = 280
#: From this share of common words on, one post is a near-copy of the other.
NEAR_COPY = 0.5
#: A language takes part from this share of the posts on.
TAKES_PART = 0.1
#: Characters of an excerpt before the first distinctive term, where the term stands beyond the first `EXCERPT`.
_BEFORE = 60


@dataclass(frozen=True, slots=True)
class _Candidate:
    post: RepostedPost
    words: Set[str]
    #: 1 for the strongest post, and less for each that follows.
    strength: float

    @property
    def language(self) -> str:
        return self.post.document.post.lang.partition("-")[0]

    def likeness(self, other: _Candidate) -> float:
        """1 for posts of one family or one text, otherwise the share of the words that they have in common."""
        ours, theirs = self.post.document.scored, other.post.document.scored
        if ours.post.content_hash == theirs.post.content_hash or set(ours.families) & set(theirs.families):
            return 1.0
        return len(self.words & other.words) / max(1, len(self.words | other.words))


def choose(posts: Sequence[RepostedPost], terms: Sequence[str], most: int) -> list[RepostedPost]:
    """At most `most` of the `posts`, which come with the strongest first.

    Of near-copies one is chosen. Each further post brings the most distinctive `terms` that the chosen ones lack, is
    strong, and has few words in common with them. Every language that takes part has a post among them, as far as there
    are places.
    """
    left = [_Candidate(p, set(words(p.document.post.full_text)), 1 - i / len(posts)) for i, p in enumerate(posts)]
    shares = Counter(candidate.language for candidate in left)
    missing = [language for language, n in shares.most_common(most) if n >= TAKES_PART * len(left)]
    new, chosen = set(terms), list[_Candidate]()
    while left and len(chosen) < most:
        allowed = [c for c in left if c.language in missing] if most - len(chosen) <= len(missing) else []
        best = max(allowed or left, key=lambda c: _gain(c, chosen, new))
        chosen.append(best)
        new -= best.words
        left = [c for c in left if c is not best and c.likeness(best) < NEAR_COPY]
        missing = [language for language in missing if language != best.language]
    return [candidate.post for candidate in chosen]


def _gain(candidate: _Candidate, chosen: Sequence[_Candidate], new: Set[str]) -> float:
    likeness = max((candidate.likeness(other) for other in chosen), default=0.0)
    return len(candidate.words & new) / max(1, len(new)) + candidate.strength - likeness


def excerpt(title: str, text: str, terms: Sequence[str]) -> str:
    """At most `EXCERPT` characters of the post, from the start or around the first term.

    They come from the title, or from the text if there is no title or only the text has one of the terms.

    >>> excerpt("", "a" * 300 + " battery " + "b" * 300, ["battery"])[:3], excerpt("Recall", "Batteries.", [])
    ('…aa', 'Recall')
    """
    parts = [clean(part) for part in (title, text) if part]
    shown = next((part for part in parts if _places(part, terms)), parts[0] if parts else "")
    first = min(_places(shown, terms), default=0)
    start = 0 if first < EXCERPT - _BEFORE else first - _BEFORE
    end = start + EXCERPT - (start > 0)
    cut = shown[start:end] if end >= len(shown) else f"{shown[start : end - 1]}…"
    return f"…{cut}" if start else cut


def _places(text: str, terms: Sequence[str]) -> list[int]:
    folded = text.casefold()
    return [at for term in terms if (at := folded.find(term)) >= 0]
