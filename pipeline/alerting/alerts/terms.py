"""The words that set the posts of an alert apart, and who wrote the posts. Pure.

Terms are ranked by the log-odds ratio with an informative Dirichlet prior (Monroe, Colaresi and Quinn 2008). Its normal
approximation needs many texts; for few, Fisher's exact test says which terms are distinctive. Chinese is segmented with
jieba's dictionary and hidden Markov model (rjieba).
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

import rjieba

from models.text import MAX_NAME, character_class, clean_line
from pipeline.domain.alert_evidence import SourceProfile
from pipeline.domain.post import Post

_HAN = re.compile(r"[\u3400-\u9fff]+")
_MARKS = character_class(lambda c: unicodedata.category(c).startswith("M"), last=0xFFFF)
_LETTER = rf"(?:(?![\u3400-\u9fff])[^\W\d_]|[{_MARKS}])"
_ALPHABETIC = re.compile(rf"{_LETTER}(?:{_LETTER}|['-]){{2,}}")
_PRIOR = 0.05
#: The two-sided 5 % quantile of the normal distribution, and the probability beyond it on one side.
SIGNIFICANT_Z, SIGNIFICANT_P = 1.96, 0.025
#: From this many texts on, the normal approximation decides.
MANY_TEXTS = 30
#: Above this share of the posts, one source or one author dominates.
MAX_SOURCE_SHARE, MAX_AUTHOR_SHARE = 0.6, 0.2
#: Words that say nothing about an event, however frequent they are.
_STOP_WORDS = frozenset(
    "about after again all and any are because been before being but can could did does doing don't for from had has "
    "have having her here his how into its just more most not now off once only other our out over own she should some "
    "such than that the their them then there these they this those through too under until very was were what when "
    "where which while who whom why will with would you your "
    "一个 一样 不是 不会 不能 什么 他们 但是 你们 其实 可以 可能 可是 因为 如果 就是 已经 怎么 我们 所以 时候 有点 "
    "有些 没有 现在 真的 知道 自己 这个 这样 这种 这么 还是 还有 那个 那么 非常 觉得 只是 不过 而且 然后 一下 一直 "
    "起来 出来".split()
)


def words(text: str) -> list[str]:
    """Words of at least three letters, and Chinese words of at least two characters, without stop words.

    >>> words("The phone 手机又爆炸了 melts")
    ['phone', 'melts', '手机', '爆炸']
    """
    text = text.casefold()
    han = [word for run in _HAN.findall(text) for word in rjieba.cut(run) if len(word) > 1]
    return [word for word in _ALPHABETIC.findall(text) + han if word not in _STOP_WORDS]


def distinctive(inside: Iterable[str], outside: Iterable[str], limit: int = 6) -> list[str]:
    """The terms that are most over-represented in the texts `inside` against those `outside`, the most telling first.

    A term occurs in at least two texts. They are ranked by z, where with the counts y of a word and n of all words on
    either side (i, o), the prior p of the word and P of all words

        z = (ln((yi + p) / (ni + P - yi - p)) - ln((yo + p) / (no + P - yo - p))) / sqrt(1 / (yi + p) + 1 / (yo + p))

    From `MANY_TEXTS` on, a term needs z >= `SIGNIFICANT_Z`; below, Fisher's exact test decides. Where nothing is known
    from outside, the terms are the words that a third of the texts share. A word counts once per text. Chinese and
    alphabetic words get their shares of the texts of the `limit` terms, at least one each.
    """
    texts = [set(words(text)) for text in inside]
    others = [set(words(text)) for text in outside]
    counts = Counter(word for text in texts for word in text)
    counts_outside = Counter(word for text in others for word in text)
    both = counts + counts_outside
    # One word more than was seen keeps the odds finite when all posts are the same single word.
    prior_total = _PRIOR * (sum(both.values()) + 1)
    total, total_outside = sum(counts.values()), sum(counts_outside.values())
    scored: list[tuple[float, str]] = []
    for word, count in counts.items():
        if count < 2:
            continue
        prior = _PRIOR * both[word]
        here, there = count + prior, counts_outside[word] + prior
        odds = math.log(here / (total + prior_total - here)) - math.log(there / (total_outside + prior_total - there))
        z = odds / math.sqrt(1 / here + 1 / there)
        if not others:
            significant = 3 * count >= len(texts)
        elif len(texts) < MANY_TEXTS:
            significant = _tail(count, both[word], len(texts), len(others)) <= SIGNIFICANT_P
        else:
            significant = z >= SIGNIFICANT_Z
        if significant:
            scored.append((z, word))
    ranked = [word for _, word in sorted(scored, key=lambda pair: (-pair[0], pair[1]))]
    return _of_each_script(ranked, texts, limit)


def _tail(count: int, of: int, texts: int, others: int) -> float:
    """Probability that at least `count` of the `of` texts with a word are among `texts`, if chance drew them.

    >>> round(_tail(3, 3, 3, 10), 4)
    0.0035
    """
    ways = sum(math.comb(texts, k) * math.comb(others, of - k) for k in range(count, min(of, texts) + 1))
    return ways / math.comb(texts + others, of)


def _of_each_script(ranked: Sequence[str], texts: Sequence[set[str]], limit: int) -> list[str]:
    """At most `limit` of the `ranked` words, the Chinese ones in proportion to the texts with Chinese words."""
    chinese = sum(any(map(_HAN.match, text)) for text in texts)
    places = round(limit * chinese / max(1, len(texts)))
    places = min(max(places, min(1, chinese)), limit - min(1, len(texts) - chinese))
    han, others = ([word for word in ranked if bool(_HAN.match(word)) is is_han] for is_han in (True, False))
    kept = {*han[: max(places, limit - len(others))], *others[: max(limit - places, limit - len(han))]}
    return [word for word in ranked if word in kept]


def source_profile(posts: Sequence[Post]) -> SourceProfile:
    """How many sources and authors the posts have, and the strongest of each with its share.

    The profile is broad if no source has more than 60 % and no author more than 20 % of the posts.
    """
    sources = Counter(post.source for post in posts)
    authors = Counter(post.author for post in posts if post.author)
    total = max(1, len(posts))
    (top_source, from_source), (top_author, from_author) = (
        counter.most_common(1)[0] if counter else ("", 0) for counter in (sources, authors)
    )
    return SourceProfile(
        sources=len(sources),
        authors=len(authors),
        top_source=clean_line(top_source, MAX_NAME),
        top_source_share=round(from_source / total, 3),
        top_author=clean_line(top_author, MAX_NAME),
        top_author_share=round(from_author / total, 3),
        distinct_authors=len(authors) + sum(not post.author for post in posts),
        broad=bool(posts) and from_source <= MAX_SOURCE_SHARE * total and from_author <= MAX_AUTHOR_SHARE * total,
    )
