"""The parts of the notifier by themselves: attempts, rests, groups, refreshes, and what each says of a failure."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import smtplib
import socket
import ssl
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from pipeline.alerting.notify.attempt import Result, attempt, reason_of
from pipeline.alerting.notify.backoff import MAX_BACKOFF_S, Backoff
from pipeline.alerting.notify.batching import Batching
from pipeline.alerting.notify.channel import Notice
from pipeline.alerting.notify.channels import mail as mail_module
from pipeline.alerting.notify.channels import smtp
from pipeline.alerting.notify.channels.alertmanager import AlertmanagerChannel, alertmanager_alert, alerts_url
from pipeline.alerting.notify.channels.answers import Answer
from pipeline.alerting.notify.channels.chart_png import chart_png
from pipeline.alerting.notify.channels.chat import DingTalkChannel, FeishuChannel, SlackChannel, WeComChannel
from pipeline.alerting.notify.channels.http import MAX_ANSWER_BYTES, Poster
from pipeline.alerting.notify.channels.log import LogChannel
from pipeline.alerting.notify.channels.mail import MailChannel
from pipeline.alerting.notify.channels.mail_message import mail_on
from pipeline.alerting.notify.channels.message import message
from pipeline.alerting.notify.channels.smtp import MailServer
from pipeline.alerting.notify.channels.webhook import plain, signature, version_4
from pipeline.alerting.notify.context import QueueContext
from pipeline.alerting.notify.deliveries import with_deliveries
from pipeline.alerting.notify.factory import Routed, check_names, open_channel
from pipeline.alerting.notify.refresher import Refresher
from pipeline.alerting.notify.status import by_channel, notification_status
from pipeline.domain.alert import Alert
from pipeline.domain.alert_evidence import EvidencePost
from pipeline.domain.delivery import Delivery, DeliveryState, FalseAlarm
from pipeline.domain.errors import Fatal, PipelineError, Transient
from pipeline.domain.metrics import Metrics
from pipeline.domain.operator_state import OperatorState
from pipeline.settings import AlertSettings, ChannelSettings
from tests.builders import START, an_alert, as_dict

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


@dataclass
class Receiver:
    """Implements `StatefulChannel` and, in place of `Poster`, notes what it is sent and gives `answer`."""

    name: str = "c"
    fails: Exception | None = None
    answer: Answer = field(default_factory=lambda: Answer(200, ""))
    got: list[Any] = field(default_factory=list)
    refresh_s: float = 60.0

    async def send(self, notice: Notice) -> None:
        self.got.append(notice)
        if self.fails is not None:
            raise self.fails

    async def check(self) -> None:
        self.got.append("check")

    async def refresh(self, alerts: Sequence[Alert]) -> None:
        self.got.append([alert.id for alert in alerts])
        if self.fails is not None:
            raise self.fails

    async def post(self, body: bytes, headers: dict[str, str] | None = None, query: str = "") -> Answer:
        self.got.append((body, headers, query))
        return self.answer

    async def post_json(self, value: Any, query: str = "") -> Answer:
        self.got.append((value, query))
        return self.answer


NOTICE = Notice("a#0-opened", "opened", an_alert(key="subject:Nova"))


@pytest.mark.parametrize(
    ("fails", "result", "outcome", "level"),
    [
        (None, Result(DeliveryState.DELIVERED), "sent", None),
        (
            Transient("channel c: busy", 7.0),
            Result(DeliveryState.RETRYING, "busy", 7.0),
            "retried",
            logging.WARNING,
        ),
        (
            Fatal("channel c: status 404", "check the URL"),
            Result(DeliveryState.REFUSED, "status 404; check the URL"),
            "refused",
            logging.ERROR,
        ),
        (TypeError("a post"), Result(DeliveryState.REFUSED, "failed with TypeError in send"), "refused", logging.ERROR),
    ],
)
def test_an_attempt_is_counted_logged_and_never_raises(
    fails: Exception | None, result: Result, outcome: str, level: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    metrics, channel = Metrics(), Receiver(fails=fails)
    assert asyncio.run(attempt(channel, NOTICE, metrics)) == result
    assert channel.got == [NOTICE]
    labels = {"channel": "c", "outcome": outcome}
    assert metrics.registry.get_sample_value("opinionwatch_notifications_total", labels) == 1
    assert [r.levelno for r in caplog.records] == ([] if level is None else [level])
    assert "a post" not in caplog.text
    if level is not None:
        assert caplog.messages == [f"channel c did not send notification a#0-opened: {result.detail}"]


def test_a_bug_is_named_by_where_it_happened() -> None:
    def inner() -> None:
        raise KeyError("a post")

    def outer() -> None:
        inner()

    with pytest.raises(KeyError) as raised:
        outer()
    assert reason_of(Receiver(), raised.value) == "failed with KeyError in inner"
    assert reason_of(Receiver(), KeyError("never raised")) == "failed with KeyError in ?"


def test_a_rest_doubles_up_to_half_a_minute_and_ends_with_a_success() -> None:
    now = [100.0]
    backoff = Backoff(lambda: now[0])
    assert (backoff.remaining_s, backoff.is_resting) == (0.0, False)
    rests = []
    for _ in range(8):
        backoff.failed(0.0)
        rests.append(backoff.remaining_s)
    assert rests == [1.0, 2.0, 4.0, 8.0, 16.0, MAX_BACKOFF_S, MAX_BACKOFF_S, MAX_BACKOFF_S]
    assert MAX_BACKOFF_S == 30.0
    now[0] += 29.9
    assert backoff.is_resting
    now[0] += 0.1
    assert not backoff.is_resting
    assert backoff.remaining_s == 0.0
    backoff.succeeded()
    backoff.failed(0.0)
    assert backoff.remaining_s == 1.0
    backoff.failed(90.0)
    assert backoff.remaining_s == 90.0, "a receiver that asks for more gets it"


def keys(batching: Batching, alerts: Sequence[Alert]) -> list[str]:
    return [notice.key.partition("-")[0] if notice.key.startswith("group") else notice.key
            for notice, _ in batching.notices(alerts)]  # fmt: skip


def at_channel(name: str, attempts: int = 0, notified_as: str = "", **more: Any) -> Alert:
    delivery = Delivery("c", attempts=attempts, notified_as=notified_as)
    return with_deliveries(an_alert(name, key=name, **more), {"c": delivery})


def test_more_than_so_many_that_begin_at_once_are_a_group() -> None:
    alerts = [at_channel(name) for name in "abc"]
    assert keys(Batching("c", 3), alerts) == ["a#0-opened", "b#0-opened", "c#0-opened"]
    assert keys(Batching("c", 2), alerts) == ["group"]
    assert keys(Batching("c", None), alerts * 9)[0] == "a#0-opened", "never, where the receiver groups by itself"
    assert keys(Batching("other", 2), alerts) == ["group"]
    (notice, members), *_ = Batching("c", 2).notices(alerts)
    assert (notice.key, notice.transition) == (f"{notice.alert.id}#0-opened", "opened")
    assert members == alerts
    assert notice.alert.notifications.deliveries is None, "a receiver does not read what other channels did"


def test_a_group_has_one_lane_and_one_transition() -> None:
    begun = [at_channel(f"b{i}") for i in range(2)]
    ended = [at_channel(f"e{i}", notified_as="warning", state="resolved") for i in range(2)]
    volume = [at_channel(f"v{i}", lane="volume") for i in range(2)]
    reminders = [at_channel(f"r{i}", notified_as="warning") for i in range(2)]
    found = [(n.transition, n.alert.lane, len(m)) for n, m in Batching("c", 1).notices(begun + ended + volume)]
    assert found == [("opened", "negative", 2), ("resolved", "negative", 2), ("opened", "volume", 2)]
    assert keys(Batching("c", 1), reminders) == ["r0#0-reminder", "r1#0-reminder"]


def test_what_was_tried_least_goes_first() -> None:
    alerts = [at_channel("tried", attempts=2), at_channel("once", attempts=1), at_channel("new")]
    assert keys(Batching("c", 9), alerts) == ["new#0-opened", "once#0-opened", "tried#0-opened"]


def test_a_group_that_failed_stays_together_until_it_is_settled() -> None:
    batching, alerts = Batching("c", 1), [at_channel(name) for name in "abcd"]
    batching.failed(alerts[:2])
    batching.failed(alerts[2:3])
    batching.settled(alerts[3:4])
    found = [[alert.id for alert in members] for _, members in batching.notices(alerts)]
    assert found == [["a", "b"], ["c", "d"]], "a single alert neither makes a group nor settles one"
    rest = [[alert.id for alert in members] for _, members in batching.notices(alerts[1:])]
    assert rest == [["b", "c", "d"]], "without one of its members it is another group"
    batching.settled(alerts[:2])
    assert [len(members) for _, members in batching.notices(alerts)] == [4]


def test_a_refresh_repeats_what_the_receiver_holds_open_at_its_own_pace(caplog: pytest.LogCaptureFixture) -> None:
    now, metrics = [5.0], Metrics()
    stand = [at_channel("open", notified_as="warning"), at_channel("ended", notified_as="resolved"), at_channel("new")]

    class Open:
        async def open(self) -> list[Alert]:
            return stand

    context = cast(QueueContext, type("Context", (), {"outbox": Open(), "metrics": metrics,
                                                       "monotonic": staticmethod(lambda: now[0])}))  # fmt: skip
    channel = Receiver()
    refresher = Refresher(channel, context)
    assert refresher.due_in_s == 0.0

    def refresh() -> list[Any]:
        channel.got.clear()
        asyncio.run(refresher.refresh())
        return list(channel.got)

    assert refresh() == [["open"]]
    assert refresher.due_in_s == 60.0
    now[0] += 59.9
    assert refresh() == []
    now[0] += 0.1
    channel.fails = Transient("channel c: busy")
    assert refresh() == [["open"]]
    assert "channel c was not refreshed: busy" in caplog.text
    labels = {"channel": "c", "outcome": "retried"}
    assert metrics.registry.get_sample_value("opinionwatch_notifications_total", labels) == 1
    assert refresher.due_in_s == 60.0, "a failure waits for the next"
    now[0] += 60.0
    stand.clear()
    assert refresh() == [], "nothing is open"


def delivered_at(*deliveries: Delivery, first: datetime | None = None, last: datetime | None = None) -> Alert:
    alert = with_deliveries(an_alert(), {d.channel: d for d in deliveries})
    return replace(alert, notifications=replace(alert.notifications, first_at=first, last_at=last))


LATER = NOW + timedelta(hours=1)
NO_ROUTE = Delivery("b", DeliveryState.NO_ROUTE)
REFUSED = Delivery("a", DeliveryState.REFUSED, NOW, 2, "status 404")
SILENT = Delivery("d", DeliveryState.SUPPRESSED, NOW, 0, "maintenance until noon")


@pytest.mark.parametrize(
    ("alert", "words"),
    [
        (delivered_at(Delivery("c"), first=NOW, last=NOW), "notified 27 Nov 12:00; update not sent yet: the alert "
         "waits for c"),
        (delivered_at(Delivery("c", DeliveryState.DELIVERED), first=NOW, last=LATER),
         "notified 27 Nov 12:00, last 27 Nov 13:00"),
        (delivered_at(REFUSED, Delivery("c"), first=None), "not notified yet: the alert waits for c; a refused it "
         "(status 404)"),
        (delivered_at(REFUSED), "nobody was notified: a refused it (status 404)"),
        (delivered_at(REFUSED, NO_ROUTE), "nobody was notified: a refused it (status 404), no route to b"),
        (delivered_at(NO_ROUTE, Delivery("e", DeliveryState.NO_ROUTE)),
         "nobody was notified: no route takes it (b, e)"),
        (delivered_at(SILENT, replace(SILENT, channel="e")), "nobody was notified: maintenance until noon"),
        (delivered_at(Delivery("log")), "nobody was notified: no channel is configured (alerts.channels)"),
        (delivered_at(Delivery("c", DeliveryState.RETRYING, NOW, 1, "busy")),
         "not notified yet: c retries after 1 try (busy)"),
        (delivered_at(*(Delivery(n, DeliveryState.HELD, detail="quiet hours") for n in "cd")),
         "not notified yet: quiet hours"),
        (delivered_at(REFUSED, first=NOW), "notified 27 Nov 12:00; a refused it (status 404)"),
    ],
)  # fmt: skip
def test_the_status_of_an_alert_says_who_knows_of_it_and_why_not(alert: Alert, words: str) -> None:
    assert notification_status(alert, OperatorState(), NOW) == words


def test_what_people_said_stands_behind_the_status() -> None:
    alert = replace(delivered_at(REFUSED, first=NOW, last=NOW), note="closed", false_alarm=FalseAlarm(NOW, "ann", "no"))
    said = OperatorState(acknowledged_at=NOW, snoozed_until=LATER)
    parts = notification_status(alert, said, NOW).split("; ")[2:]
    assert parts == [
        "marked as a false alarm by ann 27 Nov 12:00: no", "acknowledged by ? 27 Nov 12:00",
        "snoozed until 27 Nov 13:00 by ?: ", "closed",
    ]  # fmt: skip
    named = OperatorState(acknowledged_at=NOW, acknowledged_by="bob", snoozed_until=LATER, snoozed_by="eve",
                          snooze_reason="known")  # fmt: skip
    assert "acknowledged by bob" in notification_status(alert, named, NOW)
    assert "by eve: known" in notification_status(alert, named, NOW)
    assert "snoozed" not in notification_status(alert, named, LATER), "the snooze has ended"


def test_each_channel_has_a_line() -> None:
    alert = delivered_at(REFUSED, Delivery("c", DeliveryState.DELIVERED, NOW, 1), Delivery("e"))
    assert by_channel(alert) == ["a: refused 27 Nov 12:00 after 2 tries: status 404", "c: delivered 27 Nov 12:00",
                                 "e: pending"]  # fmt: skip


def test_a_message_has_a_fact_for_each_thing_that_is_known() -> None:
    alert = an_alert(key="subject:Nova", observed=31, posts=60, expected=8.24, lift=3.76, window_s=7200, cold=True,
                     model="m 1", terms=["battery", "refund"], related=["topic:x", "topic:y"], tier="10 to 50/h",
                     false_alerts_per_key_week=0.125,
                     evidence=[{"text": "one", "url": "https://x.example", "reposts": 3}, {"text": "two"}])  # fmt: skip
    said = message(alert, "opened", "en")
    assert (said.title, said.evidence_heading) == ("[warning] subject:Nova opened", "Evidence")
    assert said.facts == [
        "31 of 60 posts negative in 2 h, 8.2 expected (x3.76)", "since 2026-03-02 00:00 UTC",
        "Terms: battery, refund", "also inhibits topic:x, topic:y",
        "keys with this volume (10 to 50/h) alert 0.12 times a week in the back-test",
        "the key has little history, so fixed limits apply", "Model: m 1",
    ]  # fmt: skip
    assert [tuple(quote) for quote in said.evidence] == [("one", "https://x.example", "+3 reposts"), ("two", "", "")]
    bare = message(an_alert(key="k"), "resolved", "zh")
    assert bare.title == "[警告] k 已恢复"
    assert len(bare.facts) == 2


SECRET = "S3cret of the test"  # noqa: S105


def test_slack_escapes_what_its_markup_reads_and_links_only_to_the_web() -> None:
    posts = [{"text": "a <b> & c", "url": "https://x.example/1", "reposts": 2}, {"text": "d", "url": "https://x.e|x"},
             {"text": "e", "url": "ftp://x.example"}]  # fmt: skip
    poster = Receiver(answer=Answer(200, "ok"))
    channel = SlackChannel("c", cast(Poster, poster), "en", monotonic=lambda: 0.0)
    asyncio.run(channel.send(Notice("k", "opened", an_alert(key="R&D", evidence=posts))))
    ((body, _),) = poster.got
    assert body["text"] == "[warning] R&D opened"
    lines = body["blocks"][0]["text"]["text"].splitlines()
    assert lines[0] == "*[warning] R&amp;D opened*"
    assert lines[1].startswith("• 0 of 0 posts negative")
    assert lines[-4:] == ["*Evidence*", "> a &lt;b&gt; &amp; c (+2 reposts) <https://x.example/1|link>", "> d", "> e"]
    with pytest.raises(Transient, match="limit of 1 in 1 s"):
        asyncio.run(channel.send(NOTICE))


@pytest.mark.parametrize(
    ("severity", "transition", "colour"),
    [("warning", "opened", "orange"), ("critical", "opened", "red"), ("critical", "resolved", "green")],
)
def test_a_card_of_feishu_has_the_colour_of_the_level(severity: str, transition: str, colour: str) -> None:
    poster = Receiver(answer=Answer(200, '{"code": 0}'))
    channel = FeishuChannel("c", cast(Poster, poster), "", "en", clock=lambda: 5.9, monotonic=lambda: 0.0)
    asyncio.run(channel.send(Notice("k", transition, an_alert(severity=severity))))
    ((body, query),) = poster.got
    assert body["card"]["header"]["template"] == colour
    assert (body.keys(), query) == ({"msg_type", "card"}, ""), "without a secret there is no signature"


@pytest.mark.parametrize(
    ("limits", "make"),
    [
        ((20, 60), lambda p: DingTalkChannel("c", p, "", "en", monotonic=lambda: 0.0)),
        ((5, 1), lambda p: FeishuChannel("c", p, "", "en", monotonic=lambda: 0.0)),
        ((20, 60), lambda p: WeComChannel("c", p, "en", monotonic=lambda: 0.0)),
    ],
)
def test_each_vendor_gets_no_more_messages_than_it_takes(
    limits: tuple[int, int], make: Callable[[Any], DingTalkChannel]
) -> None:
    poster = Receiver(answer=Answer(200, '{"errcode": 0, "code": 0}'))
    channel, (most, seconds) = make(poster), limits
    for _ in range(most):
        asyncio.run(channel.send(NOTICE))
    with pytest.raises(Transient, match=f"limit of {most} in {seconds} s"):
        asyncio.run(channel.send(NOTICE))
    assert len(poster.got) == most
    assert poster.got[0][-1] == "", "without a secret there is no signature"


def test_feishu_gets_a_hundred_messages_a_minute() -> None:
    now, poster = [0.0], Receiver(answer=Answer(200, '{"code": 0}'))
    channel = FeishuChannel("c", cast(Poster, poster), "", "en", monotonic=lambda: now[0])
    for second in range(20):
        now[0] = float(second)
        for _ in range(5):
            asyncio.run(channel.send(NOTICE))
    now[0] = 20.0
    with pytest.raises(Transient, match="limit of 100 in 60 s"):
        asyncio.run(channel.send(NOTICE))


def test_dingtalk_calls_nobody_by_name() -> None:
    poster = Receiver(answer=Answer(200, '{"errcode": 0}'))
    channel = DingTalkChannel("c", cast(Poster, poster), "", "en", monotonic=lambda: 0.0)
    asyncio.run(channel.send(NOTICE))
    ((body, _),) = poster.got
    assert body["at"] == {"isAtAll": False}
    assert body["markdown"]["title"] == "[warning] subject:Nova opened"


@pytest.mark.parametrize(
    "make",
    [
        lambda p: SlackChannel("c", p, "en"), lambda p: DingTalkChannel("c", p, "", "en"),
        lambda p: FeishuChannel("c", p, "", "en"), lambda p: WeComChannel("c", p, "en"),
        lambda p: AlertmanagerChannel("c", p),
    ],
)  # fmt: skip
def test_a_check_reaches_the_receiver_and_sends_nothing(make: Callable[[Any], SlackChannel]) -> None:
    poster = Receiver()
    asyncio.run(make(poster).check())
    assert poster.got == ["check"]


BAR, HOT, EXPECTED, DIM, INK, GRID = "#9fb3c8", "#d64545", "#2f7d4f", "#8793a1", "#1f2933", "#e4e7eb"


def drawn(alert: Alert) -> dict[str, list[tuple[int, int]]]:
    """The pixels of each colour of an alert's chart, from left to right and from top to bottom."""
    picture = np.asarray(Image.open(io.BytesIO(chart_png(alert) or b"")).convert("RGB"), np.int64)
    assert picture.shape == (220, 640, 3)
    codes = picture @ [1 << 16, 1 << 8, 1]
    places = {f"#{code:06x}": np.argwhere(codes.T == code) for code in np.unique(codes)}
    return defaultdict(list, {colour: [(int(x), int(y)) for x, y in at] for colour, at in places.items()})


def with_series(posts: Sequence[int], negatives: Sequence[int], **fields: Any) -> Alert:
    end = int((START + timedelta(minutes=30)).timestamp())  # the alert began half an hour before
    return an_alert(series={"end": end, "step_s": 1800, "posts": posts, "negatives": negatives}, **fields)


@pytest.mark.parametrize(
    "alert",
    [
        with_series([40, 0, 20], [10, 0, 10], expected_share=0.25),
        with_series([10, 0, 20], [1, 0, 1], lane="volume", expected=20.0, window_s=3600),
    ],
)
def test_a_chart_draws_each_half_hour_to_scale_and_the_line_of_what_was_expected(alert: Alert) -> None:
    pixels = drawn(alert)
    top = 14 + round(180 * (1 - 1 / 1.08))  # the highest value leaves 8 % of the height free
    middle = 194 - round(180 / 2 / 1.08)
    assert min(y for _, y in pixels[HOT]) == pytest.approx(top, abs=2)
    assert (min(x for x, _ in pixels[HOT]), max(x for x, _ in pixels[HOT])) == pytest.approx((437, 626), abs=2)
    assert min(y for _, y in pixels[BAR]) == pytest.approx(middle, abs=2)
    assert (min(x for x, _ in pixels[BAR]), max(x for x, _ in pixels[BAR])) == pytest.approx((53, 242), abs=2)
    (line,) = {y for x, y in pixels[EXPECTED] if x > 300}
    assert line == pytest.approx(middle, abs=2)
    assert [y for x, y in pixels[INK] if x == 300] == [194], "the floor"
    for height in (line, top):
        written = [(x, y) for colour, at in pixels.items() if colour != "#ffffff" for x, y in at]
        assert any(x < 46 and abs(y - height) < 8 for x, y in written), "its number stands beside it"
    assert [any(lies(x, y) for x, y in pixels[DIM]) for lies in (
        lambda x, y: 52 <= x < 130 and y > 198, lambda x, y: x > 600 and y < 16, lambda x, y: 200 < x < 560,
    )] == [True, True, False], "the time of the first half-hour, and the name of the zone"  # fmt: skip


def test_a_chart_of_a_day_names_every_fourth_hour() -> None:
    pixels = drawn(with_series([4] * 48, [0] * 48, expected_share=0.0))
    assert HOT not in pixels
    assert BAR not in pixels, "nothing was negative"
    starts = [52 + 576 * at // 48 for at in range(0, 48, 8)]
    assert all(any(0 <= x - start < 40 and y > 198 for x, y in pixels[DIM]) for start in starts)


def test_wecom_sends_no_chart_of_what_has_ended() -> None:
    poster = Receiver(answer=Answer(200, '{"errcode": 0}'))
    channel = WeComChannel("c", cast(Poster, poster), "en", monotonic=lambda: 0.0)
    series = {"end": int(START.timestamp()), "step_s": 1800, "posts": [9], "negatives": [3]}
    asyncio.run(channel.send(Notice("k", "resolved", an_alert(series=series, state="resolved"))))
    assert [body["msgtype"] for body, _ in poster.got] == ["markdown"]


def posted(poster: Receiver) -> list[dict[str, Any]]:
    return [alert for body, _, _ in poster.got for alert in json.loads(body)]


def test_alertmanager_gets_times_on_which_it_keeps_an_alert_open() -> None:
    poster = Receiver()
    channel = AlertmanagerChannel("am", cast(Poster, poster), now=lambda: NOW)
    alert = an_alert(key="subject:诺瓦", severity="critical", topic="", subject="诺瓦", source="weibo")
    asyncio.run(channel.send(Notice("k", "escalated", alert)))
    now_critical, was_warning = posted(poster)
    assert (now_critical["startsAt"], now_critical["endsAt"]) == (
        START.isoformat(), (NOW + timedelta(minutes=30)).isoformat(),
    )  # fmt: skip
    assert (was_warning["labels"]["severity"], was_warning["endsAt"]) == ("warning", NOW.isoformat())
    assert now_critical["labels"] == {"alertname": "OpinionNegativeShare", "key": "subject:诺瓦",
                                      "severity": "critical", "subject": "诺瓦", "source": "weibo"}  # fmt: skip
    assert "诺瓦".encode() in poster.got[0][0]
    poster.got.clear()
    asyncio.run(channel.send(Notice("k", "resolved", replace(alert, started_at=LATER))))
    (ended,) = posted(poster)
    assert (ended["startsAt"], ended["endsAt"]) == (NOW.isoformat(), NOW.isoformat()), "clocks may differ"
    poster.got.clear()
    asyncio.run(channel.refresh([an_alert(str(i)) for i in range(201)]))
    assert [body.count(b"startsAt") for body, _, _ in poster.got] == [100, 100, 1]
    assert {each["annotations"]["transition"] for each in posted(poster)} == {"reminder"}
    assert channel.refresh_s == 60.0
    assert alerts_url("http://am:9093/") == "http://am:9093/api/v2/alerts"


def test_alertmanagers_fields_show_five_posts_and_no_end_of_an_open_alert() -> None:
    posts = [{"text": f"t{i}", "url": f"https://x.example/{i}" if i else ""} for i in range(7)]
    found = alertmanager_alert(Notice("k", "opened", an_alert(evidence=posts, query="q")))
    assert found.annotations["evidence"].splitlines() == [
        "t0",
        *(f"t{i} https://x.example/{i}" for i in range(1, 5)),
    ]
    assert (found.ends_at, found.annotations["query"]) == ("0001-01-01T00:00:00Z", "q")
    ended = alertmanager_alert(Notice("k", "resolved", an_alert(resolved_at=NOW.isoformat())))
    assert ended.to_json()["endsAt"] == NOW.isoformat()


def test_a_webhook_body_names_the_alert_its_receiver_and_its_state() -> None:
    body = as_dict(version_4(NOTICE, "oncall"))
    assert (body["status"], body["receiver"], body["truncatedAlerts"]) == ("firing", "oncall", 0)
    assert len(body["alerts"][0]["fingerprint"]) == 16
    assert body["groupKey"] == '{}:{alertname="OpinionNegativeShare"}'
    assert body["groupLabels"] == {"alertname": "OpinionNegativeShare"}
    assert plain(NOTICE)["idempotency_key"] == "a#0-opened"
    assert signature("s", b"{}", 1) != signature("t", b"{}", 1) != signature("s", b"{}", 2)
    assert len(signature("s", b"{}", 1)) == len("t=1,v1=") + 64


def test_the_log_has_a_line_without_the_text_of_a_post(caplog: pytest.LogCaptureFixture) -> None:
    alert = replace(an_alert(key="k"), evidence=(EvidencePost(text="words of a post"),))
    asyncio.run(LogChannel().send(Notice("k#0", "opened", alert)))
    assert caplog.messages == ["warning opened: k, 0 of 0 posts negative in 1 h, 0.0 expected (x0.0) [k#0]"]
    assert caplog.records[0].levelno == logging.WARNING


def test_a_mail_is_a_thread_per_alert_and_says_that_no_person_wrote_it() -> None:
    to = ["a@b.c", "d@e.f"]
    first, second = (mail_on(Notice(k, "opened", an_alert("id")), "W <w@x.example>", to, "en") for k in ("1", "2"))
    assert first["Message-ID"] != second["Message-ID"]
    assert first["In-Reply-To"] == second["In-Reply-To"] == first["References"]
    assert first["In-Reply-To"] != first["Message-ID"]
    assert len(first["Message-ID"]) == 32 + len("<@x.example>")
    assert (first["To"], first["Auto-Submitted"]) == ("a@b.c, d@e.f", "auto-generated")


class Server:
    """Stands in for a connection of smtplib: notes each call, and raises what it was given for one of them."""

    fails: dict[str, Exception] = {}
    refused: dict[str, tuple[int, bytes]] = {}
    calls: list[str] = []

    def __init__(self, host: str, port: int, **options: Any) -> None:
        self._note(f"connect {host}:{port} {options['timeout']:.0f}")

    def _note(self, call: str) -> None:
        type(self).calls.append(call)
        if error := self.fails.get(call.split(maxsplit=1)[0]):
            raise error

    def starttls(self, *, context: ssl.SSLContext) -> None:
        assert context.check_hostname
        self._note("starttls")

    def login(self, user: str, password: str) -> None:
        self._note(f"login {user} {password}")

    def noop(self) -> None:
        self._note("noop")

    def send_message(self, _: EmailMessage, to_addrs: Sequence[str]) -> dict[str, tuple[int, bytes]]:
        self._note(f"send {' '.join(to_addrs)}")
        return self.refused

    def quit(self) -> None:
        self._note("quit")

    def close(self) -> None:
        self._note("close")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> type[Server]:
    made = type("Made", (Server,), {"fails": {}, "refused": {}, "calls": []})
    monkeypatch.setattr(smtplib, "SMTP", made)
    monkeypatch.setattr(smtplib, "SMTP_SSL", type("Secure", (made,), {}))
    return made


def mails(**options: Any) -> MailChannel:
    made = MailServer("m", "mail.example", 25, **options)
    return MailChannel("m", made, sender="w@x.example", to=["a@b.c", "d@e.f"])


def test_a_mail_server_is_spoken_to_over_tls_and_after_the_log_in(server: type[Server]) -> None:
    asyncio.run(mails(username="u", password=SECRET).send(NOTICE))
    assert server.calls == [
        "connect mail.example:25 10",
        "starttls",
        f"login u {SECRET}",
        "send a@b.c d@e.f",
        "quit",
        "close",
    ]
    server.calls.clear()
    asyncio.run(mails(tls="none", timeout_s=3.0).check())
    assert server.calls == ["connect mail.example:25 3", "noop", "quit", "close"]


@pytest.mark.parametrize(
    ("call", "error", "kind", "words", "wait_s"),
    [
        ("starttls", smtplib.SMTPNotSupportedError("no STARTTLS"), Fatal,
         "the mail server does not offer what the settings ask for (no STARTTLS); set tls = 'tls' or 'none'", None),
        ("login", smtplib.SMTPAuthenticationError(535, b"no"), Fatal,
         "the mail server refuses user or password (535 no); correct username and secret", None),
        ("login", smtplib.SMTPAuthenticationError(454, b"later"), Transient, "454 later", 30.0),
        ("login", smtplib.SMTPAuthenticationError(400, b"x"), Transient, "400 x", 30.0),
        ("login", smtplib.SMTPAuthenticationError(500, b"x"), Fatal,
         "the mail server refuses user or password (500 x)", None),
        ("send", smtplib.SMTPSenderRefused(550, b"not you", "w"), Fatal,
         "the mail server refuses (550 not you); check sender and to", None),
        ("send", smtplib.SMTPDataError(452, b"full"), Transient, "452 full", 30.0),
        ("noop", smtplib.SMTPResponseException(421, b"closing"), Transient, "SMTPResponseException (closing)", 5.0),
        ("connect", ConnectionRefusedError(111, "Connection refused"), Transient,
         "ConnectionRefusedError (Connection refused)", 5.0),
        ("connect", smtplib.SMTPServerDisconnected("gone"), Transient, "SMTPServerDisconnected", 5.0),
    ],
)  # fmt: skip
def test_what_a_mail_server_does_is_said_in_its_words_with_the_remedy(
    server: type[Server], call: str, error: Exception, kind: type[PipelineError], words: str, wait_s: float | None
) -> None:
    server.fails[call] = error
    channel = mails(username="u", password=SECRET)
    with pytest.raises(kind) as raised:
        asyncio.run(channel.check() if call == "noop" else channel.send(NOTICE))
    assert str(raised.value).startswith(f"channel m: {words}")
    assert getattr(raised.value, "retry_after_s", None) == wait_s
    if call != "connect":
        assert server.calls[-1] == "close"


def test_how_a_mail_server_parts_says_nothing_about_the_mail(server: type[Server]) -> None:
    server.fails["quit"] = OSError("reset")
    asyncio.run(mails().send(NOTICE))
    assert server.calls[-1] == "close"


def test_of_recipients_that_are_refused_the_worst_answer_is_said(
    server: type[Server], caplog: pytest.LogCaptureFixture
) -> None:
    channel = mails()
    server.refused = {"a@b.c": (450, b"try later"), "d@e.f": (550, b"nobody")}
    with pytest.raises(Transient, match=r"^channel m: 2 of 2 recipients refused \(550 nobody\)$") as later:
        asyncio.run(channel.send(NOTICE))
    assert later.value.retry_after_s == 30.0
    server.refused = {"a@b.c": (499, b"later")}
    with pytest.raises(Transient, match=r"1 of 2 recipients refused"):
        asyncio.run(channel.send(NOTICE))
    assert server.calls[-3] == "send a@b.c d@e.f", "nobody had it"
    server.refused = {"a@b.c": (500, b"never")}
    with caplog.at_level(logging.WARNING, mail_module.log.name):
        asyncio.run(channel.send(NOTICE))
    assert server.calls[-3] == "send a@b.c", "the other has it"
    assert caplog.messages == ["channel m: 1 of 1 recipients refused (500 never); the others have it"]
    server.refused = {name: (550, b"nobody") for name in ("a@b.c", "d@e.f")}
    with pytest.raises(Fatal, match="refuses .550 nobody.; check sender and to"):
        asyncio.run(channel.send(NOTICE))


def test_an_authority_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match=r"channel m: ca_file .*none\.pem cannot be used \(No such file.*PEM file"):
        mails(ca_file=str(tmp_path / "none.pem"))
    assert smtp.said_by(b"\xff no\r\n") == "� no"


async def answered(
    raw: bytes, ask: Callable[[Poster], Awaitable[Any]], path: str = "/x", **options: Any
) -> tuple[Any, bytes]:
    """What `ask` gives on a server that answers `raw`, and what the server read."""
    read = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(at.split(b":")[1]) for at in head.splitlines() if at.lower().startswith(b"content-length"))
        read.append(head + await reader.readexactly(length))
        writer.write(raw)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        poster = Poster("c", f"http://127.0.0.1:{port}{path}", allow_private=True, timeout_s=2.0, **options)
        return await ask(poster), b"".join(read)


def test_a_post_has_its_query_its_headers_and_the_first_64_kib_of_the_answer() -> None:
    body = b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 70000\r\n\r\n" + b"y" * 70_000
    answer, read = asyncio.run(answered(body, lambda p: p.post("手".encode(), {"X-Of": "ours"}, "a=1"), "/x?key=2"))
    assert (answer.status, answer.wait_s, answer.complete, len(answer.text)) == (503, 7.0, True, MAX_ANSWER_BYTES)
    assert MAX_ANSWER_BYTES == 65_536
    assert read.startswith(b"POST /x?key=2&a=1 HTTP/1.1")
    assert b"X-Of: ours" in read
    assert b"Content-Type: application/json" in read
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    answer, read = asyncio.run(answered(ok, lambda p: p.post_json({"t": "手"}, "a=1")))
    assert (answer.text, answer.wait_s) == ("ok", None)
    assert read.startswith(b"POST /x?a=1 HTTP/1.1")
    assert '{"t": "手"}'.encode() in read


def test_parts_of_a_url_of_eight_characters_are_no_words_of_an_answer() -> None:
    poster = Poster("c", "https://u:passw0rd@x.example/short12/sevench?k=ab%2Fcd%2Fef", allow_private=True)
    said = poster._without_secrets("short12 sevenchr passw0rd ab/cd/ef ab%2Fcd%2Fef sevench")
    assert said == "short12 sevenchr *** *** *** sevench"


def test_a_receiver_that_cannot_be_reached_is_named_without_its_url() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    poster = Poster("c", f"http://127.0.0.1:{port}/t0kent0ken", allow_private=True)
    for call in (poster.check, lambda: poster.post(b"{}")):
        with pytest.raises(Transient, match=r"^channel c: \w+ \(.*\)$") as raised:
            asyncio.run(call())
        assert "t0ken" not in str(raised.value)
    with pytest.raises(Fatal, match=r"channel c: 127\.0\.0\.1 is not a public address; set allow_private"):
        asyncio.run(Poster("c", "https://127.0.0.1/x").post(b"{}"))
    with pytest.raises(Fatal, match="the URL must be https; use https, or set allow_private"):
        Poster("c", "http://x.example/")
    with pytest.raises(Fatal, match="correct url or url_file of the channel"):
        Poster("c", "https:///x")


def test_a_route_takes_what_all_its_parts_take_and_every_test() -> None:
    route = ChannelSettings(name="c", kind="log", severities=["critical"], lanes=["negative"], keys=["subject:*", "x"])
    channel = Receiver()
    routed = Routed(channel, route)
    assert routed.name == "c"
    taken = an_alert(key="subject:a", severity="critical")
    assert routed.takes(taken)
    assert routed.takes(replace(taken, key="x"))
    for other in ({"key": "topic:a"}, {"severity": "warning"}, {"lane": "volume"}):
        alert = replace(taken, **other)  # type: ignore[arg-type]
        assert not routed.takes(alert)
        asyncio.run(routed.send(Notice("k", "opened", alert)))
    assert channel.got == []
    asyncio.run(routed.send(Notice("k", "test", replace(taken, severity="warning"))))
    asyncio.run(routed.check())
    assert [type(each).__name__ for each in channel.got] == ["Notice", "str"]


MAIL = {"kind": "email", "host": "mail.example", "sender": "a@b.c", "to": ["d@e.f"]}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"kind": "email"}, "alerts.channels c: host is missing; set host, sender and to"),
        ({**MAIL, "to": []}, "alerts.channels c: to is missing"),
        ({**MAIL, "username": "u"}, "alerts.channels c: secret is missing; set secret or secret_file to the password"),
        ({"kind": "wecom"}, "alerts.channels c: url is missing; set url or url_file, which a wecom channel needs"),
    ],
)
def test_a_channel_that_lacks_a_field_names_it(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(Fatal) as raised:
        open_channel(ChannelSettings(name="c", **wrong))
    assert str(raised.value).startswith(words)


def test_a_password_without_a_user_is_no_fault() -> None:
    open_channel(ChannelSettings(name="c", secret=SECRET, **MAIL))  # type: ignore[arg-type]


def test_a_secret_in_a_file_is_read_without_its_line_end(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("https://x.example/a\n")
    channel = open_channel(ChannelSettings(name="c", kind="slack", url_file=str(file)))
    assert channel._poster._url == "https://x.example/a"  # type: ignore[attr-defined]
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(Fatal, match="url_file .* is not UTF-8; store it as plain text"):
        open_channel(ChannelSettings(name="c", kind="slack", url_file=str(file)))


@pytest.mark.parametrize(
    ("kind", "made"),
    [("slack", SlackChannel), ("dingtalk", DingTalkChannel), ("feishu", FeishuChannel), ("wecom", WeComChannel),
     ("alertmanager", AlertmanagerChannel), ("log", LogChannel)],
)  # fmt: skip
def test_each_kind_of_channel_is_its_own_class(kind: str, made: type) -> None:
    channel = open_channel(ChannelSettings(name="c", kind=kind, url="https://x.example"))  # type: ignore[arg-type]
    assert type(channel) is made
    assert channel.name == "c"


def test_names_of_channels_are_given_once_and_log_is_ours() -> None:
    settings = AlertSettings(channels=[{"name": n, "kind": "log"} for n in "ab"])  # type: ignore[misc]
    assert check_names(settings) == ["a", "b"]
    taken = AlertSettings(channels=[{"name": "log", "kind": "log"}])  # type: ignore[list-item]
    with pytest.raises(Fatal, match="'log' is reserved for the worker's own log; give the channel another name"):
        check_names(taken)
