"""The parts of an alert: how it is made of an episode, grouped with others, and said in a line, a list and a chart."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from rich.console import Console, RenderableType

from pipeline.alerting.alerts.evidence import Evidence
from pipeline.alerting.alerts.grouping import SHOWN, group_alert
from pipeline.alerting.alerts.headline import headline
from pipeline.alerting.alerts.maker import closed_as_orphan, last_hour, make_alert
from pipeline.alerting.alerts.origin import origin
from pipeline.alerting.alerts.terminal import alert_text
from pipeline.alerting.alerts.terminal_chart import COLUMNS, share_chart
from pipeline.alerting.alerts.terms import MAX_AUTHOR_SHARE, MAX_SOURCE_SHARE
from pipeline.alerting.counting.history import CountHistory
from pipeline.alerting.detection.thresholds import Threshold
from pipeline.alerting.evaluation.episodes import Episode, Observation, Transition
from pipeline.alerting.evaluation.events import Event
from pipeline.domain.alert import Alert
from pipeline.domain.alert_evidence import EvidencePost, LastHour, Series, SourceProfile
from pipeline.domain.counting import Scope
from pipeline.domain.delivery import Delivery, NotificationStatus
from tests.builders import START, an_alert

HOUR = timedelta(hours=1)
PEAK = Observation(at=START + HOUR, score=5.5, posts=60, observed=31, expected=8.26, baseline=0.1377, window_s=7200,
                   cold=False)  # fmt: skip
EPISODE = Episode(
    key="subject:Nova", scope=Scope(subject="Nova"), severity="warning", started_at=START, fired_at=START + HOUR,
    updated_at=START + 2 * HOUR, peak=PEAK, sequence=3,
)  # fmt: skip
SERIES = Series(int((START + 2 * HOUR).timestamp()), 1800, (7, 9, 20, 10), (1, 2, 6, 3))


def event(episode: Episode = EPISODE, **fields: Any) -> Event:
    usual = {"inhibited": ("topic:x",), "threshold": Threshold(4.25, 0.01234, 50.0), "tier": "10 to 50/h"}
    return Event(episode=episode, transition=Transition.REMINDER, **{**usual, "series": SERIES, **fields})


def made(episode: Episode = EPISODE, before: Alert | None = None, **fields: Any) -> Alert:
    return make_alert(event(episode, **fields), Evidence(query="q", model="m 1", terms=("t",)), before)


def test_the_alert_of_an_episode_has_its_peak_and_its_threshold() -> None:
    alert = made()
    assert (alert.id, alert.lane, alert.scope) == ("subject:Nova@20260302T0100Z", "negative", Scope(subject="Nova"))
    assert (alert.state, alert.resolved_at, alert.sequence, alert.revision) == ("open", None, 3, None)
    assert (alert.started_at, alert.updated_at) == (START, START + 2 * HOUR)
    peak = alert.peak
    assert (peak.observed, peak.expected, peak.posts, peak.score) == (31, 8.26, 60, 5.5)
    assert (peak.share, peak.expected_share, peak.lift, peak.window_s) == (0.5167, 0.1377, 3.75, 7200)
    threshold = alert.threshold
    assert (threshold.tier, threshold.fire, threshold.false_alerts_per_key_week) == ("10 to 50/h", 4.25, 0.012)
    assert (alert.query, alert.model, alert.terms, alert.related) == ("q", "m 1", ("t",), ("topic:x",))
    uncalibrated = made(threshold=Threshold(4.0, float("nan"), 0.0))
    assert uncalibrated.threshold.false_alerts_per_key_week is None
    ended = made(replace(EPISODE, resolved_at=START + 3 * HOUR))
    assert (ended.state, ended.resolved_at) == ("resolved", START + 3 * HOUR)


def test_a_peak_of_nothing_has_no_lift() -> None:
    peak = made(replace(EPISODE, peak=replace(PEAK, posts=0, observed=0, baseline=0.0))).peak
    assert (peak.share, peak.lift) == (0.0, 0.0)


def test_an_alert_of_the_volume_lane_has_no_share() -> None:
    peak = made(replace(EPISODE, lane="volume", peak=replace(PEAK, observed=90, posts=90, expected=20.5))).peak
    assert (peak.share, peak.expected_share, peak.lift) == (None, None, 4.39)


def test_an_alert_keeps_its_posts_its_times_and_the_keys_that_it_inhibits() -> None:
    post = EvidencePost("p1", text="as it was")
    status = NotificationStatus(START, START + HOUR, deliveries=(Delivery("c"),), held="quiet hours")
    before = replace(an_alert(), evidence=(post,), related=("subject:Old",), notifications=status)
    alert = made(before=before)
    assert alert.evidence == (post,)
    assert alert.related == ("subject:Old", "topic:x")
    assert alert.notifications == NotificationStatus(START, START + HOUR), "the outbox adds the deliveries"
    newer = make_alert(event(), Evidence((EvidencePost("p2"),)), before)
    assert [each.id for each in newer.evidence] == ["p2"]
    assert made().evidence == ()


def test_the_last_hour_is_the_end_of_the_series_against_what_the_peak_was_measured_against() -> None:
    at = datetime.fromtimestamp(SERIES.end, UTC)
    assert last_hour(SERIES, EPISODE) == LastHour(at, observed=9, posts=30, expected=4.13)
    volume = replace(EPISODE, lane="volume", peak=replace(PEAK, expected=20.0))
    assert last_hour(SERIES, volume) == LastHour(at, observed=30, posts=30, expected=10.0)
    slow = replace(SERIES, step_s=7200)
    assert last_hour(slow, EPISODE).posts == 10, "a step longer than an hour stands for it"
    assert made().last_hour == last_hour(SERIES, EPISODE)


def test_an_alert_without_an_episode_is_closed_with_a_note() -> None:
    closed = closed_as_orphan(an_alert(sequence=4), START + HOUR)
    assert (closed.state, closed.resolved_at, closed.updated_at, closed.sequence) == (
        "resolved", START + HOUR, START + HOUR, 5,
    )  # fmt: skip
    assert closed.note == "closed without an end: the evaluation lost its episode"


def grouped(**fields: Any) -> dict[str, Any]:
    usual = {"posts": 10, "observed": 5, "expected": 2.0, "score": 5.0, "window_s": 3600, "share": 0.5}
    return {**usual, **fields}


def test_a_group_adds_up_its_alerts_and_begins_with_the_first() -> None:
    early = an_alert("a", **grouped(key="a", started_at=(START - HOUR).isoformat(), expected=1.0, window_s=7200))
    late = an_alert("b", **grouped(key="b", score=6.0, topic="sports", posts=20))
    found = group_alert([early, late])
    assert (found.key, found.scope, found.related) == ("2 keys", Scope(), ("b", "a"))
    assert (found.started_at, found.peak.window_s, found.peak.score) == (START - HOUR, 7200, 6.0)
    assert (found.peak.posts, found.peak.observed, found.peak.expected) == (30, 10, 3.0)
    assert (found.peak.share, found.peak.lift) == (0.3333, 3.33)
    assert (found.source_profile, found.series, found.last_hour) == (None, None, None)
    assert found.id == group_alert([late, early]).id
    assert found.id.startswith("group-")
    assert len(found.id) == len("group-") + 16
    assert found.id != group_alert([early]).id


def test_of_alerts_that_are_alike_the_names_decide_the_order() -> None:
    found = group_alert([an_alert(name, **grouped(key=name)) for name in "cab"])
    assert found.related == ("a", "b", "c")


def test_a_group_of_the_volume_lane_or_of_no_posts_has_no_share_and_one_of_nothing_expected_no_lift() -> None:
    volume = [an_alert(name, **grouped(key=name, lane="volume", share=None)) for name in "ab"]
    assert group_alert(volume).peak.share is None
    nothing = [an_alert(name, **grouped(key=name, posts=0, observed=0, expected=0.0)) for name in "ab"]
    assert (group_alert(nothing).peak.share, group_alert(nothing).peak.lift) == (None, 0.0)


def test_a_group_shows_a_post_of_each_alert_and_two_terms_of_each() -> None:
    alerts = [
        an_alert(
            str(i), **grouped(key=str(i), evidence=[{"id": f"{i}.{n}"} for n in range(2)], terms=[f"t{i}", "both", "x"])
        )
        for i in range(8)
    ]  # fmt: skip
    without = an_alert("9", **grouped(key="9", score=9.0))
    found = group_alert([*alerts, without])
    assert [post.id for post in found.evidence] == [f"{i}.0" for i in range(SHOWN)]
    assert found.terms == ("t0", "both", "t1", "t2", "t3", "t4")


COUNTED = an_alert("a", key="subject:Nova", severity="critical", observed=31, posts=60, expected=8.24, lift=3.76,
                   window_s=7200)  # fmt: skip
LAST = LastHour(START + 9.5 * HOUR, observed=4, posts=30, expected=3.25)


def test_a_headline_says_how_the_key_does_now_where_that_is_the_news() -> None:
    counts = "31 of 60 posts negative in 2 h, 8.2 expected (x3.76)"
    alert = replace(COUNTED, last_hour=LAST)
    assert headline(alert, "opened") == f"critical opened: subject:Nova, {counts}"
    now = "4 of 30 posts negative in the hour to 09:30 UTC, 3.2 expected"
    for transition in ("reminder", "resolved"):
        assert headline(alert, transition) == f"critical {transition}: subject:Nova, {now}; at its peak {counts}"
    assert headline(COUNTED, "resolved") == f"critical resolved: subject:Nova, {counts}"
    volume = replace(alert, lane="volume")
    assert "31 posts in 2 h" in headline(volume, "opened")
    assert "4 posts in the hour to" in headline(volume, "reminder")


def test_one_source_or_author_is_named_above_its_limit() -> None:
    def facts(**fields: Any) -> list[str]:
        usual = {"sources": 2, "authors": 5, "top_source": "weibo"}
        return origin(replace(an_alert(), source_profile=SourceProfile(**{**usual, **fields})), "en")[1:]

    assert facts(top_source_share=MAX_SOURCE_SHARE, top_author_share=MAX_AUTHOR_SHARE) == []
    share = MAX_SOURCE_SHARE + 0.01
    assert facts(top_source_share=share) == [f"{share:.0%} from weibo"]
    assert facts(top_source_share=share, sources=1) == []
    assert facts(top_author_share=MAX_AUTHOR_SHARE + 0.01) == [f"{MAX_AUTHOR_SHARE + 0.01:.0%} by one author"]
    assert origin(an_alert(), "en") == [], "nobody counted"


def shown(what: RenderableType, *, styles: bool = False) -> str:
    with open("/dev/null", "w") as nowhere:
        console = Console(record=True, width=200, file=nowhere, color_system="standard", force_terminal=True)
        console.print(what)
        return console.export_text(styles=styles)


def test_an_alert_in_a_terminal_has_a_line_for_each_thing_that_is_known() -> None:
    lines = shown(alert_text(COUNTED)).splitlines()
    assert [line.rstrip() for line in lines] == [
        "● critical subject:Nova  31 of 60 posts negative in 2 h, 8.2 expected (x3.76)",
        "  since Mon 02 Mar 00:00, open",
    ]
    posts = tuple(
        EvidencePost(str(n), url=f"https://x.example/{n}", text="a \n b" + "z" * 99, negative_score=0.876, reposts=n)
        for n in range(4)
    )
    profile = SourceProfile(sources=3, authors=9)
    full = replace(COUNTED, related=("topic:x", "topic:y"), last_hour=LAST, terms=("battery", "refund"), evidence=posts,
                   source_profile=profile)  # fmt: skip
    lines = [line.rstrip() for line in shown(alert_text(full)).splitlines()]
    assert lines[1] == "  since Mon 02 Mar 00:00, open; also inhibits topic:x, topic:y"
    assert lines[2] == "  4 of 30 posts negative in the hour to 09:30 UTC, 3.2 expected"
    assert lines[3] == "  battery, refund; 3 sources, 9 authors"
    assert lines[4:] == [f"  0.88 +{n} {'a b' + 'z' * 87}  https://x.example/{n}" for n in range(3)]
    ended = [line.rstrip() for line in shown(alert_text(replace(full, state="resolved"))).splitlines()]
    assert ended[1].startswith("  since Mon 02 Mar 00:00, resolved")
    assert len(ended) == len(lines) - 1, "the last hour of an alert that has ended is no news"


@pytest.mark.parametrize(("severity", "colour"), [("critical", "31m"), ("warning", "33m")])
def test_a_critical_alert_is_red_and_a_warning_yellow(severity: str, colour: str) -> None:
    assert f"\x1b[1;{colour}● {severity}" in shown(alert_text(replace(COUNTED, severity=severity)), styles=True)


def history(keys: tuple[str, ...], posts: list[list[int]], negatives: list[list[int]]) -> CountHistory:
    return CountHistory(keys, START, 3600, np.array(posts), np.array(negatives))


def spell(key: str, start_h: float, end_h: float | None) -> Episode:
    end = None if end_h is None else START + end_h * HOUR
    return replace(EPISODE, key=key, started_at=START + start_h * HOUR, resolved_at=end)


def test_a_chart_has_a_bar_per_bucket_and_keys_with_episodes_first() -> None:
    counts = history(
        ("b", "a", "none"), [[8, 8, 8, 0], [4, 4, 4, 4], [0, 0, 0, 0]], [[0, 1, 8, 0], [2, 1, 1, 1], [0] * 4]
    )
    lines = [line.rstrip() for line in shown(share_chart(counts, [])).splitlines()]
    assert lines == ["a     ▄▂▂▂  31% of 16 posts", "b      ▁█   38% of 24 posts", "none        0% of 0 posts"]
    first = shown(share_chart(counts, [spell("none", 1, 2)])).splitlines()[0]
    assert first.startswith("none")


def test_the_buckets_of_an_episode_are_red() -> None:
    counts = history(("a",), [[8, 8, 8, 8]], [[8, 8, 8, 8]])

    def hot(*episodes: Episode) -> str:
        (row,) = share_chart(counts, episodes).columns[1].cells
        assert not isinstance(row, str)
        marks = [" "] * 4
        for span in row.spans:  # type: ignore[union-attr]
            marks[span.start] = "!"
        return "".join(marks)

    assert hot(spell("a", 1, 2)) == " !  "
    assert hot(spell("a", 1.5, 2.5)) == " !! "
    assert hot(spell("a", 2, None)) == "  !!", "it lasts"
    assert hot(spell("b", 0, 4)) == "    "


def test_a_chart_fits_a_terminal() -> None:
    many = history(tuple(f"k{i:02}" for i in range(23)), [[4] * 120] * 23, [[1] * 120] * 23)
    lines = shown(share_chart(many, [])).splitlines()
    assert len(lines) == 21
    assert lines[0].count("▂") == COLUMNS == 60
    assert lines[0].rstrip().endswith("25% of 480 posts")
    assert lines[-1].strip() == "and 3 more keys"
    assert len(shown(share_chart(many, [], keys=23)).splitlines()) == 23
