"""What must not alert: reposts by the hundred, a gap, late posts, a burst, loud voices, another model.

On SQLite, with the real rule. A crisis that one author floods with other posts must alert all the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from models.families import families
from models.heads import Prediction
from models.mentions import Mentions
from pipeline.alerting.detection.negative_share import DetectorConfig
from pipeline.alerting.evaluation.episodes import Policy
from pipeline.alerting.evaluation.evaluator import Evaluator
from pipeline.annotation.relabelling import relabel_last
from pipeline.domain.counting import NegativeDefinition
from pipeline.domain.post import ScoredPost
from pipeline.store.sqlite.store import SqliteStore
from tests.builders import START, DummyClassifier, scored

DAYS = 9
HOUR, DAY = 60, 24 * 60
#: When what is odd begins, in minutes after START.
ODD = (DAYS - 1) * DAY


class Pessimist(DummyClassifier):
    """Calls negative what says so, and a quarter of the rest."""

    def predict(self, texts: Sequence[str], mentions: Sequence[Mentions] | None = None) -> list[Prediction]:
        return super().predict([f"bad {t}" if int(t.split()[-1]) % 4 == 0 else t for t in texts], mentions)


def posts(rng: random.Random, start: float, end: float, per_hour: float, share: float = 0.2) -> list[ScoredPost]:
    """Of one topic and one brand."""
    found = []
    for at in sorted(rng.uniform(start, end) for _ in range(round((end - start) / HOUR * per_hour))):
        number = rng.randrange(10**9)
        sentiment = "negative" if rng.random() < share else "neutral"
        word = "bad" if sentiment == "negative" else "plain"
        found.append(scored(number, minute=at, text=f"{word} {number}", sentiment=sentiment, subjects=["Nova"]))
    return found


def usual(rng: random.Random) -> list[ScoredPost]:
    return posts(rng, 0, DAYS * DAY, 40)


def flood(rng: random.Random) -> list[ScoredPost]:
    """One negative post, passed on 600 times within an hour."""
    copies = [
        scored(10**9 + i, minute=ODD + i / 10, text="bad 1", sentiment="negative", subjects=["Nova"])
        for i in range(600)
    ]
    return usual(rng) + copies


def gap(rng: random.Random) -> list[ScoredPost]:
    """Nothing for twelve hours."""
    return [p for p in usual(rng) if not ODD <= (p.post.event_time - START) / timedelta(minutes=1) < ODD + 12 * HOUR]


def burst(rng: random.Random) -> list[ScoredPost]:
    """Eight times the posts for three hours, as negative as ever."""
    return usual(rng) + posts(rng, ODD, ODD + 3 * HOUR, 280)


def by_author(author: str, at: float, number: int, *, negative: bool, text: str = "") -> ScoredPost:
    sentiment = "negative" if negative else "positive"
    words = text or f"{'bad' if negative else 'good'} {number} {number * 7} {number * 13}"
    post = scored(number, minute=at, text=words, sentiment=sentiment, subjects=["Nova"], author=author)
    return post._replace(families=families(words))


def rant(rng: random.Random) -> list[ScoredPost]:
    """One author writes 120 different negative posts within three hours."""
    ranting = [by_author("troll", ODD + i * 1.5, 10**10 + i, negative=True) for i in range(120)]
    return usual(rng) + ranting


def copies(rng: random.Random) -> list[ScoredPost]:
    """120 authors each write the same negative post, with another word in it, within three hours."""
    statement = (
        "my nova phone caught fire while charging on the kitchen table and the hotline hangs up on {} every time"
    )
    return usual(rng) + [
        by_author(f"a{i}", ODD + i * 1.5, 10**10 + i, negative=True, text=statement.format(f"caller{i}"))
        for i in range(120)
    ]


def told(store: SqliteStore, evaluator: Evaluator, start_h: int, end_h: int) -> list[str]:
    found = []
    for hour in range(start_h, end_h + 1):
        for events in evaluator.advance(START + timedelta(hours=hour)):
            found += [e.episode.id for e in events]
            evaluator.save()
    return found


def fresh(tmp_path: Path, indexed: list[ScoredPost]) -> tuple[SqliteStore, Evaluator]:
    store = SqliteStore(tmp_path / "store.sqlite")
    store.setup()
    store.index(sorted(indexed, key=lambda p: p.post.event_time), START, 1)
    made = Evaluator(store, NegativeDefinition(), DetectorConfig(), Policy())
    made.resume()
    return store, made


@pytest.mark.parametrize("odd", [flood, gap, burst, rant, copies])
def test_what_is_odd_but_not_worse_is_not_told(
    tmp_path: Path, odd: Callable[[random.Random], list[ScoredPost]]
) -> None:
    store, evaluator = fresh(tmp_path, odd(random.Random(11)))
    assert told(store, evaluator, (DAYS - 1) * 24, DAYS * 24) == []


@pytest.mark.parametrize("loud", [0, 480])
def test_a_crisis_is_told_whatever_one_author_adds(tmp_path: Path, loud: int) -> None:
    rng = random.Random(15)
    crisis = [by_author(f"v{i}", ODD + i * 2.0, 10**10 + i, negative=True) for i in range(90)]
    added = [by_author("fan", ODD + i * 180 / 480, 10**11 + i, negative=False) for i in range(loud)]
    store, evaluator = fresh(tmp_path, usual(rng) + crisis + added)
    assert told(store, evaluator, (DAYS - 1) * 24, DAYS * 24) != []


def test_the_same_rant_is_told_where_every_post_counts(tmp_path: Path) -> None:
    """So the test above can fail."""
    store, _ = fresh(tmp_path, rant(random.Random(11)))
    evaluator = Evaluator(store, NegativeDefinition(posts_per_voice=0), DetectorConfig(), Policy())
    evaluator.resume()
    assert told(store, evaluator, (DAYS - 1) * 24, DAYS * 24) != []


def test_late_posts_are_not_told(tmp_path: Path) -> None:
    """Half of two hours comes after these hours were judged."""
    rng = random.Random(12)
    everything = usual(rng)
    late = [p for p in everything if ODD <= (p.post.event_time - START) / timedelta(minutes=1) < ODD + 2 * HOUR][::2]
    store, evaluator = fresh(tmp_path, [p for p in everything if p not in late])
    hours = (DAYS - 1) * 24
    before = told(store, evaluator, hours, hours + 2)
    store.index(late, START, 1)
    assert before + told(store, evaluator, hours + 3, DAYS * 24) == []


def test_another_model_is_not_told_once_the_last_days_are_labelled_by_it(tmp_path: Path) -> None:
    store, evaluator = fresh(tmp_path, posts(random.Random(13), 0, ODD, 120))
    hours = (DAYS - 1) * 24
    assert told(store, evaluator, hours - 12, hours) == []
    read, written = relabel_last(store, Pessimist(), NegativeDefinition(), 7)
    assert written == read > 0
    store.index(posts(random.Random(14), ODD, DAYS * DAY, 120, share=0.4), START, 3)
    assert told(store, evaluator, hours + 1, DAYS * 24) == []


def test_without_that_the_same_model_is_told(tmp_path: Path) -> None:
    """So the test above can fail."""
    store, evaluator = fresh(tmp_path, posts(random.Random(13), 0, ODD, 120))
    store.index(posts(random.Random(14), ODD, DAYS * DAY, 120, share=0.4), START, 3)
    hours = (DAYS - 1) * 24
    assert told(store, evaluator, hours, DAYS * 24) != []
