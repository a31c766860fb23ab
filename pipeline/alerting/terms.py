"""Which words set the posts of an alert apart, and who wrote them. Pure.

Terms by the log-odds ratio with an informative Dirichlet prior (Monroe, Colaresi and Quinn 2008); Han runs are cut
into two-character pieces, which needs no dictionary and no dependency in serving.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_LATIN = re.compile(r"[a-z][a-z'-]{2,}")
_HAN = re.compile(r"[\u3400-\u9fff]+")
_PRIOR = 0.05
_LONGEST = 6
#: Above these shares posts come from one source, or one author.
MOST_OF_A_SOURCE, MOST_OF_AN_AUTHOR = 0.6, 0.2


def words(text: str) -> list[str]:
    """Latin words of three letters and more, and pairs of Han characters.

    >>> words("The phone 手机爆炸 melts")
    ['the', 'phone', 'melts', '手机', '机爆', '爆炸']
    """
    text = text.casefold()
    pairs = [run[i : i + 2] for run in _HAN.findall(text) for i in range(max(1, len(run) - 1))]
    return _LATIN.findall(text) + [p for p in pairs if len(p) == 2]


def distinctive(inside: Iterable[str], outside: Iterable[str], limit: int = 6) -> list[str]:
    """The terms of `inside` that are most over-represented against `outside`; z >= 1.96 and in two texts at least."""
    texts = list(inside)
    ours = Counter(w for text in texts for w in words(text))
    spread = Counter(w for text in texts for w in set(words(text)))
    theirs = Counter(w for text in outside for w in words(text))
    both = ours + theirs
    # One word more than was seen: where all posts are one word, there is still something that it is not.
    n, m, prior_sum = sum(ours.values()), sum(theirs.values()), _PRIOR * (sum(both.values()) + 1)
    scored: list[tuple[float, str]] = []
    for word, count in ours.items():
        if spread[word] < 2:
            continue
        prior = _PRIOR * both[word]
        a, b = count + prior, theirs[word] + prior
        odds = math.log(a / (n + prior_sum - a)) - math.log(b / (m + prior_sum - b))
        z = odds / math.sqrt(1 / a + 1 / b)
        if z >= 1.96:
            scored.append((z, word))
    return _merged([word for _, word in sorted(scored, key=lambda s: (-s[0], s[1]))][: 3 * limit])[:limit]


def _merged(terms: Sequence[str]) -> list[str]:
    """Han pairs that overlap are joined to the longer word that they come from.

    >>> _merged(["爆炸", "melts", "池爆", "电池"])
    ['电池爆炸', 'melts']
    """
    kept: list[str] = []
    for term in terms:
        place = next((i for i, k in enumerate(kept) if k[-1] == term[0] or term[-1] == k[0]), None)
        if place is None or not (_HAN.match(term) and _HAN.match(kept[place])) or len(kept[place]) >= _LONGEST:
            kept.append(term)
        elif term not in kept[place]:
            kept[place] = kept[place] + term[1:] if kept[place][-1] == term[0] else term[:-1] + kept[place]
    return kept


def spread(posts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How many sources and authors, the strongest of each with its share, and whether it is broad.

    Broad: no source has over 60 % and no author over 20 % of the posts. `voices` are the authors, and each post of
    none as one more.
    """
    sources = Counter(p["source"] for p in posts)
    authors = Counter(p["author"] for p in posts if p["author"])
    n = max(1, len(posts))
    (top_source, of_source), (top_author, of_author) = (
        c.most_common(1)[0] if c else ("", 0) for c in (sources, authors)
    )
    return {
        "sources": len(sources),
        "authors": len(authors),
        "top_source": top_source,
        "top_source_share": round(of_source / n, 3),
        "top_author": top_author,
        "top_author_share": round(of_author / n, 3),
        "voices": len(authors) + sum(not p["author"] for p in posts),
        "broad": bool(posts) and of_source <= MOST_OF_A_SOURCE * n and of_author <= MOST_OF_AN_AUTHOR * n,
    }
