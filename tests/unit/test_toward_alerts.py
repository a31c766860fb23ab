"""Alerts of a subject: their posts are negative toward it, and their words say so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline.alerting.alerts.evidence import EvidenceReader
from pipeline.alerting.alerts.headline import headline
from pipeline.alerting.alerts.origin import Language
from pipeline.alerting.notify.channels.message import message
from pipeline.domain.alert import NEGATIVE, VOLUME, Alert
from pipeline.domain.alert_evidence import EvidencePost, LastHour
from pipeline.domain.counting import EVERYTHING, NegativeDefinition, Scope
from pipeline.domain.post import ScoredPost, Toward
from pipeline.store.sqlite.store import SqliteStore
from tests.builders import START, an_alert, scored

NOVA, DAY = Scope("", "Nova"), timedelta(days=1)
LOSS, GAIN, CALM = Toward("negative", 0.9, 0.9), Toward("positive", 0.9, 0.02), Toward("neutral", 0.7, 0.2)
JUDGED = EvidencePost("1", text="Nova failed me", negative_score=0.3, toward="negative", toward_score=0.91)
COUNTED = replace(
    an_alert("a", key="subject:Nova", observed=195, posts=220, expected=20.1, lift=9.7, window_s=10_800),
    scope=NOVA,
    evidence=(JUDGED,),
    last_hour=LastHour(START, observed=61, posts=70, expected=6.5),
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(tmp_path / "store.sqlite")
    made.setup()
    yield made
    made.close()


def judged(offset: int, text: str, sentiment: str = "neutral", **toward: Toward) -> ScoredPost:
    return scored(offset, text=text, sentiment=sentiment, subjects=list(toward))._replace(toward=toward)


def test_evidence_is_negative_toward_the_subject_and_the_terms_come_from_it(store: SqliteStore) -> None:
    left = [judged(i, f"I left Nova for Kestrel: refund {i}", Nova=LOSS, Kestrel=GAIN) for i in range(12)]
    rows = [judged(20 + i, f"Kestrel burns, Nova is calm {i}", "negative", Nova=CALM, Kestrel=LOSS) for i in range(12)]
    store.index([*left, *rows], START, 1)
    reader = EvidenceReader(store, NegativeDefinition())
    nova, kestrel = (reader.read(Scope("", name), NEGATIVE, START, START + DAY) for name in ("Nova", "Kestrel"))
    assert {(post.toward, post.toward_score) for post in (*nova.posts, *kestrel.posts)} == {("negative", 0.9)}
    assert all("left Nova" in post.text for post in nova.posts)
    assert all("burns" in post.text for post in kestrel.posts)
    week = reader.read(NOVA, NEGATIVE, START + timedelta(minutes=20), START + DAY)
    assert week.posts == ()
    volume = reader.read(NOVA, VOLUME, START, START + DAY)
    assert volume.posts
    assert reader.distinct_authors(NOVA, NEGATIVE, START, START + DAY) == 12


def test_evidence_of_a_topic_and_of_a_bundle_without_the_head_says_nothing_about_a_subject(store: SqliteStore) -> None:
    whole = Toward("negative", 0.7, 0.9, whole_text=True)
    store.index([judged(0, "Nova fails", "negative", Nova=whole)], START, 1)
    reader = EvidenceReader(store, NegativeDefinition())
    for scope in (NOVA, Scope("technology")):
        (post,) = reader.read(scope, NEGATIVE, START, START + DAY).posts
        assert (post.toward, post.toward_score, post.shown_score) == ("", 0.0, 0.9)
        assert "toward" not in post.to_json()


def test_evidence_is_read_back_as_it_was_written() -> None:
    assert EvidencePost.from_json(JUDGED.to_json()) == JUDGED
    assert JUDGED.shown_score == 0.91
    again = Alert.from_json("a", COUNTED.to_json())
    assert again.toward == "Nova"


@pytest.mark.parametrize(
    "alert",
    [
        replace(COUNTED, lane=VOLUME),
        replace(COUNTED, evidence=(replace(JUDGED, toward=""),)),
        replace(COUNTED, scope=EVERYTHING, key="2 keys"),
        replace(COUNTED, scope=Scope("autos"), key="topic:autos"),
    ],
)
def test_an_alert_that_counts_the_whole_text_names_no_subject(alert: Alert) -> None:
    assert alert.toward == ""
    assert "toward" not in headline(alert, "opened")
    assert not any("Nova" in fact for fact in message(alert, "reminder", "en").facts)


@pytest.mark.parametrize(
    ("language", "peak", "now"),
    [
        (
            "en",
            "negative toward Nova: 195 of 220 posts in 3 h, 20.1 expected (x9.7)",
            "now: negative toward Nova: 61 of 70 posts in the hour to 00:00 UTC, 6.5 expected",
        ),
        (
            "zh",
            "3 小时内 220 条中有 195 条对“Nova”持负面态度，预期 20.1 条（9.7 倍）",
            "目前：截至 00:00 UTC 的一小时内 70 条中有 61 条对“Nova”持负面态度，预期 6.5 条",
        ),
    ],
)
def test_a_message_says_toward_whom_the_posts_are_negative(language: Language, peak: str, now: str) -> None:
    assert message(COUNTED, "opened", language).facts[0] == peak
    facts = message(COUNTED, "reminder", language).facts
    assert facts[0] == now
    assert facts[1].endswith(peak)


def test_a_headline_says_toward_whom_the_posts_are_negative() -> None:
    counts = "negative toward Nova: 195 of 220 posts in 3 h, 20.1 expected (x9.7)"
    assert headline(COUNTED, "opened") == f"warning opened: subject:Nova, {counts}"
    assert "negative toward Nova: 61 of 70 posts in the hour to 00:00 UTC" in headline(COUNTED, "reminder")


def test_the_name_of_a_subject_makes_no_markup_and_fills_no_placeholder() -> None:
    odd = replace(COUNTED, scope=Scope("", "{posts} <b>*No va*"))
    assert message(odd, "opened", "en").facts[0].startswith("negative toward {posts} <b>*No va*: 195 of 220 posts")
