"""Which words set the posts of an alert apart, and who wrote them. Pure.

Terms by the log-odds ratio with an informative Dirichlet prior (Monroe, Colaresi and Quinn 2008); Chinese is segmented
by jieba's dictionary and hidden Markov model (rjieba).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import rjieba

from models.text import MAX_NAME, clean_line

_LATIN = re.compile(r"[a-z][a-z'-]{2,}")
_HAN = re.compile(r"[\u3400-\u9fff]+")
_PRIOR = 0.05
#: Above these shares posts come from one source, or one author.
MOST_OF_A_SOURCE, MOST_OF_AN_AUTHOR = 0.6, 0.2
#: Words that say nothing of what happened, however many more of them there are.
_EMPTY = frozenset(
    "about after again all and any are because been before being but can could did does doing don't for from had has "
    "have having her here his how into its just more most not now off once only other our out over own she should some "
    "such than that the their them then there these they this those through too under until very was were what when "
    "where which while who whom why will with would you your "
    "一个 一样 不是 不会 不能 什么 他们 但是 你们 其实 可以 可能 可是 因为 如果 就是 已经 怎么 我们 所以 时候 有点 "
    "有些 没有 现在 真的 知道 自己 这个 这样 这种 这么 还是 还有 那个 那么 非常 觉得 只是 不过 而且 然后 一下 一直 "
    "起来 出来".split()
)


def words(text: str) -> list[str]:
    """Latin words of three letters and more, Chinese words of two characters and more; none of the empty ones.

    >>> words("The phone 手机又爆炸了 melts")
    ['phone', 'melts', '手机', '爆炸']
    """
    text = text.casefold()
    han = [word for run in _HAN.findall(text) for word in rjieba.cut(run) if len(word) > 1]
    return [word for word in _LATIN.findall(text) + han if word not in _EMPTY]


def distinctive(inside: Iterable[str], outside: Iterable[str], limit: int = 6) -> list[str]:
    """The terms of `inside` that are most over-represented against `outside`; z >= 1.96 and in two texts at least.

    A word counts once a text.
    Each language has as many of the `limit` as it has of the texts.
    """
    texts = [set(words(text)) for text in inside]
    ours = Counter(word for text in texts for word in text)
    theirs = Counter(word for text in outside for word in set(words(text)))
    both = ours + theirs
    # One word more than was seen: where all posts are one word, there is still something that it is not.
    n, m, prior_sum = sum(ours.values()), sum(theirs.values()), _PRIOR * (sum(both.values()) + 1)
    scored: list[tuple[float, str]] = []
    for word, count in ours.items():
        if count < 2:
            continue
        prior = _PRIOR * both[word]
        a, b = count + prior, theirs[word] + prior
        odds = math.log(a / (n + prior_sum - a)) - math.log(b / (m + prior_sum - b))
        z = odds / math.sqrt(1 / a + 1 / b)
        if z >= 1.96:
            scored.append((z, word))
    ranked = [word for _, word in sorted(scored, key=lambda s: (-s[0], s[1]))]
    chinese = sum(any(map(_HAN.match, text)) for text in texts)
    places = round(limit * chinese / max(1, len(texts)))
    han, latin = ([w for w in ranked if bool(_HAN.match(w)) is which] for which in (True, False))
    kept = {*han[: max(places, limit - len(latin))], *latin[: max(limit - places, limit - len(han))]}
    return [word for word in ranked if word in kept]


def spread(posts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How many sources and authors, the strongest of each with its share, and whether it is broad.

    Broad: no source has over 60 % and no author over 20 % of the posts. `distinct_authors` counts the
    authors, and each post without an author as one more.
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
        "top_source": clean_line(top_source, MAX_NAME),
        "top_source_share": round(of_source / n, 3),
        "top_author": clean_line(top_author, MAX_NAME),
        "top_author_share": round(of_author / n, 3),
        "voices": len(authors) + sum(not p["author"] for p in posts),
        "broad": bool(posts) and of_source <= MOST_OF_A_SOURCE * n and of_author <= MOST_OF_AN_AUTHOR * n,
    }
