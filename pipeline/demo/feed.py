"""A seeded generator of two weeks of posts: brands, news, reposts, a neutral burst, a troll and two crises. Pure.

On day 9 a car launch brings a burst of posts without bad news. On day 11 one author writes forty negative posts about
an airline. On day 13 meals of the brand Greenleaf make people ill, while one author praises the brand hundreds of
times. On day 14 phones of the brand Nova catch fire, and half of the posts about it praise its rival Orbit.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from models.json_types import JsonObject
from pipeline.demo import phrases
from pipeline.demo.phrases import Voice

START = datetime(2026, 3, 2, tzinfo=UTC)
DAYS = 14
BURST = START + timedelta(days=8, hours=12)
RANT = START + timedelta(days=10, hours=14)
FLOODED = START + timedelta(days=12, hours=12)
CRISIS = START + timedelta(days=13, hours=9)
BURST_POSTS, RANT_POSTS, FLOODED_POSTS, FLOOD_POSTS, CRISIS_POSTS = 240, 40, 80, 400, 200
BRAND_POSTS_A_DAY, RIVAL_POSTS_A_DAY, NEWS_POSTS_A_DAY = 260, 15, 120
#: The share of the posts about Nova's crisis that praise its rival.
COMPARED = 0.5
_NEGATIVE, _NEUTRAL = 0.14, 0.46


@dataclass(frozen=True, slots=True)
class Item:
    """One record of the feed: its topic, its own time and its bytes."""

    topic: str
    at: datetime
    value: bytes

    @property
    def timestamp_ms(self) -> int:
        return round(self.at.timestamp() * 1000)


@dataclass(frozen=True, slots=True)
class _Written:
    """A post before it has its number; `title` is None in a forum."""

    source: str
    kind: str
    url: str
    text: str
    author: str
    at: datetime
    lang: str
    title: str | None = None

    def to_json(self, id_: str) -> JsonObject:
        return {
            "v": 1,
            "source": self.source,
            "kind": self.kind,
            "url": self.url,
            "text": self.text,
            "author": self.author,
            "published_at": self.at.isoformat(),
            "lang": self.lang,
            **({} if self.title is None else {"title": self.title}),
            "id": id_,
        }


def generate(seed: int = 7) -> list[Item]:
    """All items in order of time; the same seed gives the same bytes.

    About one item in a hundred comes twice, and one in a thousand is broken, so that the summary also counts
    duplicates and dead letters.
    """
    rng, rival = random.Random(seed), random.Random(seed + 1)  # noqa: S311
    posts = [*_brand_posts(rng), *_news_posts(rng), *_burst(rng), *_crisis(rng, rival), *_rant(rng), *_flooded(rng)]
    posts += _rival_posts(rival)
    posts.sort(key=lambda post: post.at)
    items = []
    for number, post in enumerate(posts):
        at = post.at
        topic = "opinion.news" if post.kind == "news" else "opinion.forum"
        item = Item(topic, at, json.dumps(post.to_json(f"demo-{number}"), ensure_ascii=False).encode())
        items.append(item)
        chance = rng.random()
        if chance < 0.01:
            items.append(item)
        elif chance < 0.011:
            items.append(Item(topic, at, b'{"source": "demo", "id": "broken", "text": \xff'))
    return items


def _moment(rng: random.Random) -> datetime:
    """A random time within the two weeks, more often by day than by night."""
    while True:
        hour = rng.uniform(0, 24)
        if rng.random() < (1.0 if 8 <= hour <= 22 else 0.35):
            return START + timedelta(days=rng.randrange(DAYS), hours=hour)


def _post(rng: random.Random, at: datetime, kind: str, lang: str, text: str, title: str | None = None) -> _Written:
    source = {"forum": ("weibo", "openforum"), "news": ("wire", "xinwen")}[kind][lang == "en"]
    url = f"https://{source}.example/p/{rng.randrange(10**9)}"
    return _Written(source, kind, url, text, f"user{rng.randrange(4000)}", at, lang, title)


def _sentence(rng: random.Random, voice: Voice, sentiment: str) -> str:
    core = rng.choice({"negative": voice.negative, "neutral": voice.neutral, "positive": voice.positive}[sentiment])
    detail = rng.choice(phrases.DETAILS[voice.lang]).format(
        place=rng.choice(phrases.PLACES[voice.lang]), n=rng.randrange(2, 9000)
    )
    stop, gap = (".", " ") if voice.lang == "en" else ("。", "")
    return gap.join(
        part for part in (rng.choice(voice.openings), core + stop, rng.choice(voice.endings[sentiment]), detail) if part
    )


def _with_reposts(rng: random.Random, post: _Written, chance: float) -> Iterator[_Written]:
    yield post
    while rng.random() < chance:
        at = post.at + timedelta(minutes=rng.expovariate(1 / 20))
        mark = f"RT @{post.author}: " if post.lang == "en" else f"//@{post.author}:"
        yield _post(rng, min(at, START + timedelta(days=DAYS)), "forum", post.lang, mark + post.text)


def _brand_posts(rng: random.Random) -> Iterator[_Written]:
    for _ in range(BRAND_POSTS_A_DAY * DAYS):
        voice = rng.choice(rng.choice(list(phrases.BRANDS.values())))
        yield from _everyday(rng, voice)


def _rival_posts(rng: random.Random) -> Iterator[_Written]:
    for _ in range(RIVAL_POSTS_A_DAY * DAYS):
        yield from _everyday(rng, rng.choice(phrases.RIVAL))


def _everyday(rng: random.Random, voice: Voice) -> Iterator[_Written]:
    dice = rng.random()
    sentiment = "negative" if dice < _NEGATIVE else "neutral" if dice < _NEGATIVE + _NEUTRAL else "positive"
    text = _sentence(rng, voice, sentiment)
    yield from _with_reposts(rng, _post(rng, _moment(rng), "forum", voice.lang, text), 0.15)


def _news_posts(rng: random.Random) -> Iterator[_Written]:
    for _ in range(NEWS_POSTS_A_DAY * DAYS):
        lang, form = rng.choice(rng.choice(list(phrases.NEWS.values())))
        team, other = rng.sample(phrases.PLACES[lang], 2)
        text = form.format(team=team, other=other, a=rng.randrange(1, 6), b=rng.randrange(5), n=rng.randrange(1, 9000))
        yield _post(rng, _moment(rng), "news", lang, text, text.split(",")[0] if lang == "en" else "")


def _burst(rng: random.Random) -> Iterator[_Written]:
    for _ in range(BURST_POSTS):
        voice = rng.choice(phrases.BRANDS["Kestrel"])
        at = BURST + timedelta(hours=rng.triangular(0, 4, 1))
        yield _post(rng, at, "forum", voice.lang, _sentence(rng, voice, rng.choice(("neutral", "neutral", "positive"))))


def _crisis(rng: random.Random, rival: random.Random) -> Iterator[_Written]:
    for _ in range(CRISIS_POSTS):
        voice = rng.choice(phrases.CRISIS)
        at = CRISIS + timedelta(hours=rng.triangular(0, 5, 1.5))
        text = _sentence(rng, voice, "negative")
        if rival.random() < COMPARED:
            text += (" " if voice.lang == "en" else "") + rival.choice(phrases.COMPARISONS[voice.lang])
        yield from _with_reposts(rng, _post(rng, at, "forum", voice.lang, text), 0.3)


def _rant(rng: random.Random) -> Iterator[_Written]:
    """One author, and every post is another one."""
    for _ in range(RANT_POSTS):
        voice = rng.choice(phrases.BRANDS["Lumen Air"])
        at = RANT + timedelta(hours=rng.uniform(0, 3))
        post = _post(rng, at, "forum", voice.lang, _sentence(rng, voice, "negative"))
        yield replace(post, author="grudge")


def _flooded(rng: random.Random) -> Iterator[_Written]:
    """A crisis of many people, and the praise of one author that would hide it if each post counted."""
    for _ in range(FLOODED_POSTS):
        voice = rng.choice(phrases.FLOODED)
        at = FLOODED + timedelta(hours=rng.triangular(0, 5, 1.5))
        yield _post(rng, at, "forum", voice.lang, _sentence(rng, voice, "negative"))
    for _ in range(FLOOD_POSTS):
        voice = rng.choice(phrases.BRANDS["Greenleaf"])
        at = FLOODED + timedelta(hours=rng.uniform(0, 5))
        post = _post(rng, at, "forum", voice.lang, _sentence(rng, voice, "positive"))
        yield replace(post, author="greenfan")
