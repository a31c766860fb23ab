"""What `labels stats` says of people: kappa compares what two of them said of the same text."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.alerting.alerts.grouping import group_alert
from pipeline.annotation.statistics import Agreement, summary
from pipeline.domain.alert import Alert
from pipeline.domain.annotation import Annotation
from tests.builders import START, an_alert


def said(annotator: str, classes: Sequence[str], *, order: Sequence[int] | None = None) -> list[Annotation]:
    """One annotation per text; `order` is the order in which the texts were annotated."""
    return [
        Annotation(f"p{i}", "sentiment", classes[i], annotator, START + timedelta(minutes=at), f"text {i}")
        for at, i in enumerate(order if order is not None else range(len(classes)))
    ]


def test_kappa_is_of_the_same_texts_whatever_the_order_in_which_they_came() -> None:
    """Paired by text, the two agree fully; paired by order of arrival, less than chance."""
    classes = ["negative", "positive", "negative", "positive", "neutral", "neutral"]
    found = summary([*said("ann", classes), *said("ben", classes, order=[3, 0, 5, 4, 1, 2])]).agreement
    assert found == (Agreement("sentiment", ("ann", "ben"), 6, 1.0),)


def test_kappa_by_hand() -> None:
    ann, ben = ["a", "a", "a", "b", "b"], ["a", "a", "b", "b", "a"]
    found = summary([*said("ann", ann), *said("ben", ben)]).agreement
    # 3 of 5 alike; chance (3 * 3 + 2 * 2) / 25 = .52
    assert found[0].kappa == pytest.approx((0.6 - 0.52) / (1 - 0.52), abs=1e-4)


@given(st.lists(st.sampled_from("ab"), min_size=1, max_size=8), st.integers(0, 8))
def test_only_texts_of_both_count(classes: list[str], only_ann: int) -> None:
    more = [Annotation(f"q{i}", "sentiment", "b", "ann", START, "") for i in range(only_ann)]
    found = summary([*said("ann", classes), *more, *said("ben", classes)]).agreement
    assert (found[0].texts, found[0].kappa) == (len(classes), 1.0)


def test_a_grouped_alert_names_the_worst_first_and_is_the_worst_ones() -> None:
    def alert(key: str, severity: str, score: float) -> Alert:
        return an_alert(key, key=key, severity=severity, score=score, posts=10, observed=5, expected=2.0,
                        evidence=[{"text": key}])  # fmt: skip

    found = group_alert([alert("mild", "warning", 9.0), alert("bad", "critical", 6.5), alert("worst", "critical", 8.0)])
    assert found.related == ("worst", "bad", "mild")
    assert (found.severity, found.peak.score) == ("critical", 8.0)
    assert [e.text for e in found.evidence] == ["worst", "bad", "mild"]
