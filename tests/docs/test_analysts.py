"""Every query of docs/analysts.md gives the numbers of a day whose posts, alerts and annotations are known.

From 08:00 to 14:00 eight of the ten posts an hour about Nova are negative, in the other hours two of ten. Kestrel has
five posts an hour, one of them negative. One text is passed on three times.
"""

from __future__ import annotations

import json
import re
import sqlite3
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.domain.alert import Alert
from pipeline.domain.annotation import Annotation
from pipeline.domain.counting import NegativeDefinition, Scope
from pipeline.domain.document_version import DocumentVersion
from pipeline.domain.post import ScoredPost, Toward
from pipeline.store.elasticsearch.store import ElasticsearchStore
from pipeline.store.protocol import Store
from pipeline.store.sqlite.store import SqliteStore
from tests.builders import START, scored
from tests.docs.pages import ROOT, prose, slug

DAY = datetime(2026, 3, 15, tzinfo=UTC)
RISE, END = DAY + timedelta(hours=8), DAY + timedelta(hours=14)
ALERT = "subject:Nova@20260315T0840Z"
#: Minutes from the start of `scored` to the day.
DAY_MINUTE = (DAY - START).days * 1440
PAGE = ROOT / "docs" / "analysts.md"
NOVA, KESTREL, NEGATIVES = 10, 5, 8
SECTIONS = re.split(r"^#{2,3} (.+)$", PAGE.read_text("utf-8"), flags=re.M)[1:]


def queries(language: str) -> list[tuple[str, str]]:
    """Section and text of every block of a language, in the order of the page."""
    found = re.compile(rf"^```{language}\n(.*?)^```$", re.S | re.M)
    return [
        (slug(heading), block)
        for heading, text in zip(SECTIONS[::2], SECTIONS[1::2], strict=True)
        for block in found.findall(text)
    ]


def day() -> Iterator[ScoredPost]:
    number = 0
    for hour in range(24):
        rise = 8 <= hour < 14
        for subject, posts, negatives in (("Nova", NOVA, NEGATIVES if rise else 2), ("Kestrel", KESTREL, 1)):
            for i in range(posts):
                number += 1
                minute = DAY_MINUTE + 60 * hour + 2 + 5 * i
                post = scored(
                    number, minute=minute, sentiment="negative" if i < negatives else "neutral",
                    subjects=[subject], text=_text(subject, i < negatives, number),
                    source="weibo" if i % 2 else "autoforum", author=f"author {i}",
                )  # fmt: skip
                toward = Toward(post.labels["sentiment"], 0.9, post.negative_score)
                scores = {**post.scores, "sentiment": 0.55 if i == 0 else 0.9}
                yield post._replace(scores=scores, toward={subject: toward})
    for i in range(4):
        yield scored(9000 + i, minute=DAY_MINUTE + 540 + i, text="passed on")
    yield scored(9100, published_at="sometime", minute=DAY_MINUTE, text="no time", source="clockless")


def _text(subject: str, negative: bool, number: int) -> str:
    if subject == "Nova":
        return f"诺瓦手机 {number} {'又坏了，我要退款' if negative else '今天到了'}"
    return f"a kestrel {number} {'and I want a 退款 for it' if negative else 'was seen in the park'}"


def fill(store: Store) -> None:
    store.setup()
    posts = list(day())
    store.index(posts, DAY, DocumentVersion.STREAMED)
    rule = NegativeDefinition()
    alert: dict[str, Any] = {
        "key": "subject:Nova", "subject": "Nova", "severity": "critical", "state": "open", "score": 40.5,
        "started_at": RISE.isoformat(), "observed": 6 * NEGATIVES, "expected": 12.0, "posts": 6 * NOVA, "lift": 4.0,
        "query": store.evidence_query(Scope(subject="Nova"), RISE, END, rule),
        "notifications": [{"channel": "oncall", "state": "refused", "sequence": 0, "attempts": 1}],
    }  # fmt: skip
    store.put_alert(Alert.from_json(ALERT, alert))
    ended: dict[str, Any] = {"key": "topic:x", "state": "resolved", "started_at": DAY.isoformat(), "score": 5.0}
    store.put_alert(Alert.from_json("old", ended))
    first, second = posts[0].post, posts[1].post
    said = [(first, "ann", "negative"), (first, "bob", "positive"), (second, "ann", "positive")]
    store.put_annotations(
        [Annotation(p.id, "sentiment", label, who, DAY, p.text, suggested="negative") for p, who, label in said]
    )
    store.refresh()
    document = store.post(second.id)
    assert document
    labels = {**document.labels, "sentiment": "positive"}
    changed = replace(document, scored=document.scored._replace(labels=labels), corrected=True)
    store.replace([changed], DocumentVersion.CORRECTED)
    store.refresh()


def _buckets(answer: dict[str, Any], name: str) -> dict[str, dict[str, Any]]:
    return {str(b["key"]): b for b in answer["aggregations"][name]["buckets"]}


def _sources(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return [hit["_source"] for hit in answer["hits"]["hits"]]


def share_per_subject(answer: dict[str, Any]) -> None:
    subjects = _buckets(answer, "subjects")
    hours = [(h["negative"]["doc_count"], h["doc_count"]) for h in subjects["Nova"]["hours"]["buckets"]]
    assert hours == [(1, NOVA)] + [(2, NOVA)] * 7 + [(NEGATIVES, NOVA)] * 6 + [(2, NOVA)] * 10
    assert {h["negative"]["doc_count"] for h in subjects["Kestrel"]["hours"]["buckets"]} == {1}


def toward_subjects(answer: dict[str, Any]) -> None:
    found = {key: b["doc_count"] for key, b in _buckets(answer, "toward").items()}
    nova, kestrel = 6 * NEGATIVES + 18 * 2, 24
    assert found == {
        "Nova=negative": nova, "Nova=neutral": 24 * NOVA - nova,
        "Kestrel=negative": kestrel, "Kestrel=neutral": 24 * KESTREL - kestrel,
    }  # fmt: skip


def share_of_topics(answer: dict[str, Any]) -> None:
    topic = _buckets(answer, "topics")["technology"]
    assert (topic["negative"]["doc_count"], topic["doc_count"]) == (6 * NEGATIVES + 18 * 2 - 1 + 24, 24 * 15 + 2)


def sources_and_authors(answer: dict[str, Any]) -> None:
    assert {k: b["doc_count"] for k, b in _buckets(answer, "sources").items()} == {"weibo": 24, "autoforum": 24}
    assert answer["aggregations"]["distinct_authors"]["value"] == NEGATIVES
    assert len(_buckets(answer, "authors")) == NEGATIVES


def most_passed_on(answer: dict[str, Any]) -> None:
    most = answer["aggregations"]["texts"]["buckets"][0]
    assert (most["doc_count"], most["first"]["hits"]["hits"][0]["_source"]["text"]) == (4, "passed on")


def full_text(answer: dict[str, Any]) -> None:
    assert answer["hits"]["total"]["value"] == 24 * NOVA


def refunds_in_chinese(answer: dict[str, Any]) -> None:
    assert answer["hits"]["total"]["value"] == 6 * NEGATIVES + 18 * 2
    assert {post["lang"] for post in _sources(answer)} == {"zh"}


def most_negative(answer: dict[str, Any]) -> None:
    found = _sources(answer)
    assert len(found) == 20
    assert {post["negative_score"] for post in found} == {0.9}


def unsure(answer: dict[str, Any]) -> None:
    assert answer["hits"]["total"]["value"] == 24 * 2
    assert {post["scores"]["sentiment"] for post in _sources(answer)} == {0.55}


def versions(answer: dict[str, Any]) -> None:
    assert _buckets(answer, "versions")["1"]["doc_count"] == 24 * 15 + 4 + 1


def without_time(answer: dict[str, Any]) -> None:
    assert {k: b["doc_count"] for k, b in _buckets(answer, "sources").items()} == {"clockless": 1}


def open_alerts(answer: dict[str, Any]) -> None:
    assert [(a["key"], a["observed"]) for a in _sources(answer)] == [("subject:Nova", 6 * NEGATIVES)]


def alerts_of_subject(answer: dict[str, Any]) -> None:
    assert [hit["_id"] for hit in answer["hits"]["hits"]] == [ALERT]


def rederived(answer: dict[str, Any]) -> None:
    assert answer["count"] in {6 * NEGATIVES, 6 * NOVA}


def annotations_of_people(answer: dict[str, Any]) -> None:
    by = {b["key"]: b["doc_count"] for b in _buckets(answer, "heads")["sentiment"]["annotators"]["buckets"]}
    assert by == {"ann": 2, "bob": 1}


def confusion(answer: dict[str, Any]) -> None:
    cells = {
        (b["key"]["suggested"], b["key"]["label"]): b["doc_count"] for b in answer["aggregations"]["cells"]["buckets"]
    }
    assert cells == {("negative", "negative"): 1, ("negative", "positive"): 2}


def contradictions(answer: dict[str, Any]) -> None:
    first, second = answer["aggregations"]["posts"]["buckets"]
    assert (first["labels"]["value"], second["labels"]["value"]) == (2, 1)


def corrected(answer: dict[str, Any]) -> None:
    assert [post["labels"]["sentiment"] for post in _sources(answer)] == ["positive"]


def estimated(answer: dict[str, Any]) -> None:
    if "bins" in answer["aggregations"]:
        assert all(name.startswith("Nova=") for name in _buckets(answer, "bins"))
        return
    posts, score_sum = (answer["aggregations"][name]["value"] for name in ("posts", "score_sum"))
    assert posts == answer["hits"]["total"]["value"] >= 6 * NOVA
    assert 0.1 * posts < score_sum < 0.9 * posts, "posts score .9 or .1"


EXPECTED: dict[str, Callable[[dict[str, Any]], None]] = {
    "negative-share-per-subject-per-hour": share_per_subject,
    "sentiment-toward-every-subject": toward_subjects,
    "negative-share-of-every-topic": share_of_topics,
    "sources-and-authors-behind-a-rise": sources_and_authors,
    "texts-that-are-passed-on-most": most_passed_on,
    "full-text-in-chinese-and-english": full_text,
    "posts-in-chinese-that-mention-a-refund": refunds_in_chinese,
    "the-most-negative-posts-of-a-subject": most_negative,
    "posts-that-the-model-doubts": unsure,
    "posts-by-the-model-that-labelled-them": versions,
    "posts-without-a-usable-time": without_time,
    "open-alerts-the-worst-first": open_alerts,
    "all-alerts-of-a-subject": alerts_of_subject,
    "alerts-that-a-channel-did-not-take": alerts_of_subject,
    "re-derive-an-alerts-number": rederived,
    "re-derive-an-alerts-estimate": estimated,
    "how-many-annotations-by-whom": annotations_of_people,
    "disagreement-of-annotator-and-model": confusion,
    "posts-on-which-annotators-disagree": contradictions,
    "posts-that-people-corrected": corrected,
}
ROWS: dict[str, Callable[[list[tuple[Any, ...]]], bool]] = {
    "share-per-subject-and-hour": lambda rows: (
        ("2026-03-15 09:00", "Nova", NOVA, 0.8) in rows and ("2026-03-15 09:00", "Kestrel", KESTREL, 0.2) in rows
    ),
    "posts-in-chinese": lambda rows: rows == [(6 * NEGATIVES + 18 * 2,)],
    "open-alerts": lambda rows: rows == [(ALERT, "critical", 6 * NEGATIVES, 12.0)],
    "the-number-of-an-alert": lambda rows: rows == [(6 * NEGATIVES,)],
    "confusion-of-annotator-and-model": lambda rows: rows == [("negative", "negative", 1), ("negative", "positive", 2)],
}


def test_every_query_of_the_page_has_an_expectation() -> None:
    assert {section for section, _ in queries("http")} == EXPECTED.keys()
    assert {section for section, _ in queries("sql")} == ROWS.keys()
    assert len(re.findall(r"^```\w+$", PAGE.read_text("utf-8"), re.M)) == len(queries("http")) + len(queries("sql"))
    assert "SELECT" not in prose(PAGE)


@pytest.mark.services
@pytest.mark.timeout(300)
def test_every_query_gives_the_numbers_of_the_day(empty_elasticsearch: str) -> None:
    store = ElasticsearchStore(empty_elasticsearch)
    fill(store)
    alert = store.alert(ALERT)
    assert alert
    counts: list[int] = []
    for section, text in queries("http"):
        head, _, body = text.partition("\n")
        method, path = head.split()
        assert method == "GET"
        request = urllib.request.Request(
            f"{empty_elasticsearch}/{path}", body.encode(), {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            answer = json.load(response)
        EXPECTED[section](answer)
        if section == "re-derive-an-alerts-number":
            counts.append(answer["count"])
            if len(counts) == 1:
                assert json.loads(alert.query.partition(" ")[2].partition(" ")[2]) == json.loads(body)
    assert counts == [alert.peak.observed, alert.peak.posts]
    store.close()


@pytest.mark.parametrize(("section", "text"), queries("sql"), ids=[section for section, _ in queries("sql")])
def test_every_statement_gives_the_numbers_of_the_day(section: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "posts.sqlite"
    store = SqliteStore(file)
    fill(store)
    alert = store.alert(ALERT)
    assert alert
    store.close()
    with sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True) as db:
        rows = db.execute(text).fetchall()
    db.close()
    assert ROWS[section](rows)
    if section == "the-number-of-an-alert":
        assert " ".join(alert.query.split()) in " ".join(text.split())
