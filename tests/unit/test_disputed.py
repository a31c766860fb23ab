"""An alert says so if its loudest voices decide it, and a surge of posts how negative it is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.alerting.alerts.caveats import caveats
from pipeline.alerting.alerts.evidence import EvidenceReader
from pipeline.alerting.alerts.loudest import is_disputed, loudest_voices
from pipeline.alerting.evaluation.episodes import Observation
from pipeline.domain.alert import NEGATIVE, VOLUME, Alert
from pipeline.domain.alert_voices import LoudestVoices
from pipeline.domain.counting import Cell, NegativeDefinition, Scope
from pipeline.domain.voices import Negativity, VoicePost
from pipeline.store.sqlite.store import SqliteStore
from tests.builders import START, an_alert, scored

NOVA = Scope("", "Nova")
BAD, GOOD = Negativity(True, 0.9), Negativity(False, 0.1)


def peak(expected: float = 20.0, baseline: float = 0.2) -> Observation:
    return Observation(START, 5.0, 100, 40, expected, baseline, 3600, False)


def voices(posts: int, negatives: int, posts_without: int, negatives_without: int) -> LoudestVoices:
    return LoudestVoices(1, 0, posts, negatives, posts_without, negatives_without)


def written(author: str, count: int, read: Negativity, subject: str = "Nova") -> list[VoicePost]:
    return [VoicePost(f"{author}{i}", 0, "tech", "forum", author, (), read, {subject: read}) for i in range(count)]


@pytest.mark.parametrize(
    ("counts", "disputed"),
    [
        ((400, 60, 100, 60), True),  # a flood of 300 posts hides what 100 people say
        ((160, 80, 100, 20), True),  # a rant of 60 posts makes what nobody else says
        ((160, 100, 100, 60), False),  # both say that there is a rise
        ((200, 40, 100, 20), False),  # neither does
        ((60, 60, 0, 0), True),  # nobody else wrote
    ],
)
def test_an_alert_is_disputed_if_the_loudest_decide_it(counts: tuple[int, int, int, int], disputed: bool) -> None:
    assert is_disputed(NEGATIVE, peak(), voices(*counts), 1.5) is disputed


def test_a_surge_is_disputed_if_the_loudest_make_it() -> None:
    assert is_disputed(VOLUME, peak(expected=50.0), voices(160, 30, 60, 10), 1.5)
    assert not is_disputed(VOLUME, peak(expected=50.0), voices(160, 30, 130, 10), 1.5)


def test_without_loud_voices_nothing_is_disputed() -> None:
    assert not is_disputed(NEGATIVE, peak(), None, 1.5)


def test_the_loudest_are_those_of_the_key() -> None:
    posts = [*written("ann", 5, BAD), *written("bob", 2, BAD), *written("eve", 9, BAD, "Kestrel")]
    cells = [Cell(0, "tech", "Nova", 40, 12), Cell(0, "tech", "", 60, 30)]
    assert loudest_voices(NOVA, cells, posts, 3) == LoudestVoices(1, 0, 40, 12, 35, 7)
    assert loudest_voices(NOVA, cells, written("bob", 2, BAD), 3) is None


def test_a_post_of_two_loud_voices_is_left_out_once() -> None:
    posts = [post._replace(families=("f1",)) for post in written("ann", 4, GOOD)]
    found = loudest_voices(NOVA, [Cell(0, "tech", "Nova", 10, 3)], posts, 3)
    assert found == LoudestVoices(1, 1, 10, 3, 6, 3)


def test_the_reader_counts_what_the_store_holds(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.sqlite")
    store.setup()
    posts = [scored(i, minute=i, sentiment="negative", subjects=["Nova"], author=f"a{i}") for i in range(20)]
    posts += [scored(100 + i, minute=i, sentiment="positive", subjects=["Nova"], author="fan") for i in range(30)]
    store.index(posts, START, 1)
    read = EvidenceReader(store, NegativeDefinition()).read(NOVA, NEGATIVE, START, START + timedelta(hours=1))
    assert read.loudest_voices == LoudestVoices(1, 0, 50, 20, 20, 20)


def disputed_alert(**fields: Any) -> Alert:
    return an_alert(loudest_voices=voices(400, 60, 100, 58).to_json(), disputed=True, **fields)


def test_both_counts_are_shown_in_both_languages() -> None:
    (english,), (chinese,) = (caveats(disputed_alert(), language) for language in ("en", "zh"))
    assert english == ("disputed: 60 of 400 posts negative if every post counts, 58 of 100 without the loudest author")
    for number in ("400", "60", "100", "58"):
        assert number in chinese
    assert "存疑" in chinese


def test_the_document_keeps_it() -> None:
    alert = disputed_alert()
    assert Alert.from_json("a", alert.to_json()) == alert
    assert not an_alert().disputed
    assert "disputed" not in an_alert().to_json()


def surge(negatives: Sequence[float], expected: float = 100.0) -> Alert:
    """A surge in the last two half-hours of a day with 50 posts in each."""
    end = int((START + timedelta(days=1)).timestamp())
    series = {"end": end, "step_s": 1800, "posts": [50] * 46 + [150, 150], "negatives": [10] * 46 + list(negatives)}
    last = {"at": (START + timedelta(days=1)).isoformat(), "observed": 300, "posts": 300, "expected": expected}
    started = (START + timedelta(hours=23)).isoformat()
    return an_alert(lane=VOLUME, series=series, last_hour=last, started_at=started)


@pytest.mark.parametrize(
    ("negatives", "words"),
    [
        ((30, 30), ["as negative as usual (20%, usually 20%)", "3.0 times the negatives", "60 in", "20.0 expected"]),
        ((60, 60), ["more negative than usual (40%", "6.0 times"]),
        ((3, 3), ["less negative than usual (2%", "0.3 times"]),
        ((30.1, 29.8), ["as negative as usual (20%", ": 60 in the last hour"]),
    ],
)
def test_a_surge_says_how_negative_it_is(negatives: Sequence[float], words: list[str]) -> None:
    (fact,) = caveats(surge(negatives), "en")
    for word in words:
        assert word in fact
    (chinese,) = caveats(surge(negatives), "zh")
    assert "负面" in chinese


def test_a_surge_without_a_day_before_says_nothing() -> None:
    assert caveats(an_alert(lane=VOLUME), "en") == []


def test_a_surge_where_nothing_was_expected_says_nothing() -> None:
    assert caveats(surge((30, 30), expected=0.0), "en") == []
