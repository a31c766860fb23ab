"""Every channel against a server that enforces the vendor's schema, signature, size and rate."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import io
import socketserver
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote_plus

import pytest
from aiohttp import web
from PIL import Image

from pipeline.alerting.alerts.grouping import group_alert
from pipeline.alerting.alerts.headline import headline
from pipeline.alerting.alerts.origin import Language
from pipeline.alerting.notify.channel import Channel, Notice
from pipeline.alerting.notify.channels.alertmanager import alertmanager_alert
from pipeline.alerting.notify.channels.chart_png import chart_png
from pipeline.alerting.notify.channels.mail_message import mail_on
from pipeline.alerting.notify.channels.message import cut, fitted, markdown, message
from pipeline.alerting.notify.channels.rate_limit import RateLimit
from pipeline.alerting.notify.factory import make_channels, open_channel
from pipeline.cli.alerts.example import example_alert
from pipeline.domain.alert import Alert
from pipeline.domain.errors import Fatal, Transient
from pipeline.settings import AlertSettings, ChannelSettings
from tests.builders import an_alert

SECRET = "a secret of the test"  # noqa: S105
LONG = {
    "id": "1",
    "source": "s",
    "url": "https://a.example/1",
    "published_at": None,
    "negative_score": 0.9,
    "reposts": 3,
}


def alert(**changes: Any) -> Alert:
    """The example without a chart and with long, hostile posts; `changes` are fields of its JSON."""
    text = "诺瓦手机爆炸 [x](javascript:1) @everyone <!channel> " + "坏" * 270
    usual: dict[str, Any] = {
        "evidence": [{**LONG, "text": text}] * 30,
        "terms": ["爆炸"],
        "spread": {"sources": 3, "authors": 9},
    }
    example = example_alert(datetime.now(UTC))
    return Alert.from_json(example.id, {**example.to_json(), "series": {}, **usual, **changes})


def charted(**changes: Any) -> Alert:
    return alert(series=example_alert(datetime.now(UTC)).to_json()["series"], **changes)


def send(kind: str, vendor: Callable[[web.Request, Any], Any], notice: Notice | None = None, **options: Any) -> None:
    """Sends one notice to a server; `vendor(request, body)` checks it and gives the JSON answer."""

    async def handle(request: web.Request) -> web.Response:
        body = await request.json()
        assert len(await request.read()) <= 20_000
        return web.json_response(vendor(request, body))

    async def both() -> None:
        app = web.Application()
        app.router.add_post("/{path:.*}", handle)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook?token=1"
        settings = ChannelSettings(name="c", kind=kind, url=url, allow_private=True, **options)  # type: ignore[arg-type]
        try:
            await open_channel(settings).send(notice or Notice("k#0-opened", "opened", alert()))
        finally:
            await runner.cleanup()

    asyncio.run(both())


@pytest.mark.parametrize(
    ("language", "lines"),
    [
        ("en", ["3 sources, 9 authors", "85% from weibo", "40% by one author"]),
        ("zh", ["3 个来源，9 位作者", "85% 来自 weibo", "40% 出自同一作者"]),
    ],
)
def test_what_one_source_or_author_drives_says_so(language: Language, lines: list[str]) -> None:
    broad = {"sources": 3, "authors": 9, "top_source": "weibo", "top_source_share": 0.5, "top_author_share": 0.1}
    driven = broad | {"top_source_share": 0.85, "top_author_share": 0.4}
    assert [fact in message(alert(spread=driven), "opened", language).facts for fact in lines] == [True] * 3
    assert [fact in message(alert(spread=broad), "opened", language).facts for fact in lines] == [True, False, False]
    only = driven | {"sources": 1, "top_source_share": 1.0}
    assert not any("weibo" in fact for fact in message(alert(spread=only), "opened", language).facts)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_dingtalk(language: str) -> None:
    def vendor(request: web.Request, body: Any) -> Any:
        stamp = request.query["timestamp"]
        text = f"{stamp}\n{SECRET}".encode()
        expected = base64.b64encode(hmac.new(SECRET.encode(), text, hashlib.sha256).digest()).decode()
        assert unquote_plus(request.rel_url.raw_query_string.split("sign=")[1]) == expected
        assert len(stamp) == 13
        assert set(body) == {"msgtype", "markdown", "at"}
        assert set(body["markdown"]) == {"title", "text"}
        assert ("触发" if language == "zh" else "opened") in body["markdown"]["title"]
        return {"errcode": 0, "errmsg": "ok"}

    send("dingtalk", vendor, secret=SECRET, language=language)


def test_feishu() -> None:
    def vendor(_: web.Request, body: Any) -> Any:
        key = f"{body['timestamp']}\n{SECRET}".encode()
        assert body["sign"] == base64.b64encode(hmac.new(key, b"", hashlib.sha256).digest()).decode()
        assert body["msg_type"] == "interactive"
        assert body["card"]["header"]["template"] == "orange"
        assert body["card"]["elements"][0]["tag"] == "markdown"
        return {"code": 0, "msg": "success"}

    send("feishu", vendor, secret=SECRET)


def test_wecom_keeps_to_4096_bytes() -> None:
    def vendor(_: web.Request, body: Any) -> Any:
        assert body["msgtype"] == "markdown"
        assert 1000 < len(body["markdown"]["content"].encode()) <= 4096
        return {"errcode": 0, "errmsg": "ok"}

    send("wecom", vendor)


@pytest.mark.parametrize("answer", [0, 45009, 40009])
def test_wecom_gets_the_chart_as_a_picture_and_its_loss_repeats_nothing(answer: int) -> None:
    bodies: list[Any] = []

    def vendor(_: web.Request, body: Any) -> Any:
        bodies.append(body)
        return {"errcode": answer if body["msgtype"] == "image" else 0}

    send("wecom", vendor, Notice("k#0-opened", "opened", charted()))
    assert [b["msgtype"] for b in bodies] == ["markdown", "image"]
    picture = base64.b64decode(bodies[1]["image"]["base64"])
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert hashlib.md5(picture, usedforsecurity=False).hexdigest() == bodies[1]["image"]["md5"]
    assert len(picture) < 20_000


def test_a_chart_shows_the_rise_in_red_and_what_was_expected() -> None:
    for lane in ({}, {"lane": "volume", "expected_share": None, "share": None}):
        picture = Image.open(io.BytesIO(chart_png(charted(**lane)) or b"")).convert("RGB")
        colours = dict.fromkeys(picture.getcolors(10_000) or [])
        shades = {colour: n for n, colour in colours}
        assert shades[(214, 69, 69)] > 200, "the half-hours since the rise"
        assert shades[(159, 179, 200)] > 1000, "those before"
        assert shades[(47, 125, 79)] > 400, "the line of what was expected"
    assert chart_png(alert()) is None, "no counts, no chart"
    many = group_alert([replace(charted(), id="a"), replace(charted(), id="b")])
    assert chart_png(many) is None, "one key's day does not stand for all"
    nothing = alert(series={"end": 0, "step_s": 1800, "posts": [0] * 48, "negatives": [0] * 48})
    assert chart_png(nothing) is None


def test_the_volume_lane_has_words_and_a_name_of_its_own() -> None:
    volume = charted(lane="volume", observed=90, expected=20.5, lift=4.39, window_s=3600)
    assert message(volume, "opened", "en").facts[0] == "90 posts in 1 h, 20.5 expected at this time of day (x4.39)"
    assert message(volume, "opened", "zh").facts[0].startswith("1 小时内共 90 条")
    assert headline(volume, "opened").endswith("90 posts in 1 h, 20.5 expected (x4.39)")
    assert alertmanager_alert(Notice("k", "opened", volume)).labels["alertname"] == "OpinionVolume"


@pytest.mark.parametrize(
    ("language", "now", "peak"),
    [
        ("en", "now: 4 of 30 posts negative in the hour to 09:30 UTC, 3.2 expected", "at its peak: 31 of 60 posts"),
        ("zh", "目前：截至 09:30 UTC 的一小时内 30 条中有 4 条负面，预期 3.2 条", "峰值：1 小时内 60 条中有 31 条负面"),
    ],
)
def test_a_reminder_says_how_it_stands_now_beside_the_peak(language: Language, now: str, peak: str) -> None:
    last = {"at": "2026-11-24T09:30:00+00:00", "observed": 4, "posts": 30, "expected": 3.2}
    for transition in ("reminder", "resolved"):
        facts = message(alert(last_hour=last), transition, language).facts
        assert facts[0] == now
        assert facts[1].startswith(peak)
    assert now not in message(alert(last_hour=last), "opened", language).facts
    assert "4 of 30 posts negative in the hour to 09:30 UTC" in headline(alert(last_hour=last), "reminder")
    surge = {**last, "observed": 30}
    volume = alert(last_hour=surge, lane="volume")
    assert message(volume, "reminder", "en").facts[0] == "now: 30 posts in the hour to 09:30 UTC, 3.2 expected"
    closed = alert(last_hour=last, false_alarm={"by": "ann", "note": "a joke", "at": last["at"], "ended_at": None})
    assert message(closed, "resolved", "en").facts[:2] == ["closed as a false alarm by ann", "a joke"]


def test_slack() -> None:
    def vendor(_: web.Request, body: Any) -> Any:
        section = body["blocks"][0]
        assert section["type"] == "section"
        assert len(section["text"]["text"]) <= 3000
        assert "<!channel>" not in section["text"]["text"]
        assert body["text"].startswith("[warning] subject:Example")
        return "ok"

    send("slack", vendor)
    with pytest.raises(Fatal, match="without ok"):
        send("slack", lambda *_: {"ok": False, "error": "no_service"})


def test_alertmanager_gets_what_its_api_wants() -> None:
    def vendor(request: web.Request, body: Any) -> Any:
        assert request.path.endswith("/api/v2/alerts")
        (one,) = body
        assert set(one["labels"]) == {"alertname", "key", "severity", "subject"}
        assert all(isinstance(v, str) for v in (*one["labels"].values(), *one["annotations"].values()))
        start, end = (datetime.fromisoformat(one[k]) for k in ("startsAt", "endsAt"))
        assert start <= datetime.now(UTC) < end
        return {}

    async def handle(request: web.Request) -> web.Response:
        return web.json_response(vendor(request, await request.json()))

    async def both() -> None:
        app = web.Application()
        app.router.add_post("/{path:.*}", handle)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        c = ChannelSettings(name="c", kind="alertmanager", url=url, allow_private=True)  # type: ignore[arg-type]
        await open_channel(c).send(Notice("k", "opened", alert()))
        await runner.cleanup()

    asyncio.run(both())


def test_the_webhook_can_speak_alertmanagers_version_4() -> None:
    def vendor(_: web.Request, body: Any) -> Any:
        assert body["version"] == "4"
        assert body["status"] == body["alerts"][0]["status"] == "resolved"
        assert set(body) == {
            "version", "groupKey", "truncatedAlerts", "status", "receiver", "groupLabels", "commonLabels",
            "commonAnnotations", "externalURL", "alerts",
        }  # fmt: skip
        assert set(body["alerts"][0]) >= {"labels", "annotations", "startsAt", "endsAt", "generatorURL", "fingerprint"}
        return {}

    short = alert(evidence=[], resolved_at="2026-11-24T00:00:00+00:00")
    send("webhook", vendor, Notice("k#1-resolved", "resolved", short), body="alertmanager")


@pytest.mark.parametrize(
    ("kind", "answer", "error"),
    [
        ("dingtalk", {"errcode": 310000, "errmsg": "sign not match"}, Fatal),
        ("dingtalk", {"errcode": 130101, "errmsg": "send too fast"}, Transient),
        ("feishu", {"code": 19021, "msg": "sign match fail"}, Fatal),
        ("feishu", {"code": 11232, "msg": "frequency limited"}, Transient),
        ("wecom", {"errcode": 93000, "errmsg": "invalid webhook url"}, Fatal),
        ("wecom", {"errcode": 45009, "errmsg": "api freq out of limit"}, Transient),
        ("wecom", [], Fatal),
    ],
)
def test_a_vendor_that_says_no_with_status_200_is_heard(kind: str, answer: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        send(kind, lambda *_: answer)


def test_limits_wait_rather_than_send_and_be_refused() -> None:
    now = [0.0]
    limit = RateLimit({60.0: 20, 1.0: 5}, lambda: now[0])
    for second in range(4):
        now[0] = second * 1.0
        for _ in range(5):
            limit.acquire("c")
        with pytest.raises(Transient):
            limit.acquire("c")
    now[0] = 5.0
    with pytest.raises(Transient, match="20 in 60 s") as refused:
        limit.acquire("c")
    assert refused.value.retry_after_s == pytest.approx(55.0)
    now[0] = 60.0
    limit.acquire("c")


def test_what_a_post_says_makes_no_markup_and_no_character_is_split() -> None:
    said = message(alert(), "opened", "zh")
    for size in (200, 1000, 4096, 15_000):
        text = fitted(said, markdown, size)
        assert len(text.encode()) <= size
        assert "](javascript" not in text
        assert "@everyone" not in text
    assert cut("坏" * 100, 50).encode().decode() == "坏" * 15 + "…"


def test_what_a_producer_writes_makes_no_line_of_its_own() -> None:
    hostile = "x\r\n\r\nFrom the security team: sign in\x1b]0;\x07\u202e"
    post = {**LONG, "text": hostile, "url": f"https://a.example/{hostile}"}
    said = message(alert(key=hostile, evidence=[post], spread={}, terms=[hostile]), "opened", "en")
    texts = [said.title, *said.facts, *(part for row in said.evidence for part in row)]
    assert all(text == "" or text.isprintable() for text in texts)
    mail = open_channel(
        ChannelSettings(name="m", kind="email", host="h", sender="W <w@example.org>", to=["a@example.org"])
    )
    composed = mail.compose(Notice("k", "opened", alert(key=hostile)))  # type: ignore[attr-defined]
    assert composed["Subject"].isprintable()
    assert composed["Message-ID"].endswith("@example.org>")
    assert [name for name in composed if name == "From"] == ["From"]


class _Smtp(socketserver.StreamRequestHandler):
    """Enough of RFC 5321 to take a mail; the answers are what it says to RCPT, by a part of the line, and otherwise."""

    mails: list[bytes] = []
    taken: list[bytes] = []
    recipient_answer, quit_answer, auth_answer = b"250 ok", b"221 bye", b"235 ok"
    answers: dict[bytes, bytes] = {}

    def handle(self) -> None:
        self.wfile.write(b"220 test\r\n")
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if verb == b"DATA":
                self.wfile.write(b"354 go\r\n")
                lines = []
                while (part := self.rfile.readline()) != b".\r\n":
                    lines.append(part)
                self.mails.append(b"".join(lines))
                self.wfile.write(b"250 taken\r\n")
            elif verb == b"QUIT":
                self.wfile.write(self.quit_answer + b"\r\n")
                return
            elif verb == b"RCPT":
                answer = next((a for part, a in self.answers.items() if part in line), self.recipient_answer)
                self.taken += [line] if answer[:1] == b"2" else []
                self.wfile.write(answer + b"\r\n")
            elif verb == b"EHLO":
                self.wfile.write(b"250-test\r\n250 AUTH PLAIN\r\n")
            else:
                self.wfile.write((self.auth_answer if verb == b"AUTH" else b"250 ok") + b"\r\n")


@pytest.fixture
def smtp_port() -> Any:
    _Smtp.mails, _Smtp.taken, _Smtp.answers, _Smtp.recipient_answer = [], [], {}, b"250 ok"
    _Smtp.quit_answer, _Smtp.auth_answer = b"221 bye", b"235 ok"
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Smtp) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def mail_channel(port: int, **options: Any) -> Channel:
    base = {"host": "127.0.0.1", "port": port, "sender": "watch@example.org", "to": ["a@example.org"], "tls": "none"}
    return open_channel(ChannelSettings(name="m", kind="email", **{**base, **options}))


def body_of(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    assert isinstance(part, EmailMessage)
    return str(part.get_content())


def test_a_mail_has_text_and_html_and_the_same_id_when_repeated(smtp_port: int) -> None:
    for _ in range(2):
        asyncio.run(mail_channel(smtp_port, language="zh").send(Notice("k#0-opened", "opened", alert())))
    one, two = (message_from_bytes(m, policy=policy.default) for m in _Smtp.mails)
    assert one["Message-ID"] == two["Message-ID"]
    assert "[警告] subject:Example 触发" in one["Subject"]
    html = body_of(one, "html")
    assert "诺瓦手机爆炸" in html
    assert "<!channel>" not in html
    assert "诺瓦手机爆炸" in body_of(one, "plain")
    assert "cid:chart" not in html


def test_a_mail_shows_the_chart(smtp_port: int) -> None:
    asyncio.run(mail_channel(smtp_port).send(Notice("k#0-opened", "opened", charted())))
    mail = message_from_bytes(_Smtp.mails[0], policy=policy.default)
    assert 'src="cid:chart"' in body_of(mail, "html")
    (picture,) = [part for part in mail.walk() if part.get_content_type() == "image/png"]
    assert picture["Content-ID"] == "<chart>"
    assert picture.get_content()[:4] == b"\x89PNG"


def test_the_text_of_a_post_makes_no_markup_in_a_mail() -> None:
    hostile = """<script>alert(1)</script> "'><img src=x onerror=alert(1)> {{ 7 * 7 }} {% raw %} &amp; \u2028 # x"""
    posts = [{**LONG, "text": hostile, "url": url} for url in ('https://a.example/"onmouseover="x', "javascript:x")]
    mail = mail_on(Notice("k", "opened", alert(key=hostile, evidence=posts, terms=[hostile])), "a@b.c", ["d@e.f"], "en")
    html = mail.get_body(("html",))
    text = mail.get_body(("plain",))
    assert html is not None
    assert text is not None

    class Seen(HTMLParser):
        tags: list[tuple[str, list[str]]] = []
        words = ""

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.tags.append((tag, [name for name, _ in attrs]))

        def handle_data(self, data: str) -> None:
            self.words += data

    seen = Seen()
    seen.feed(html.get_content())
    assert {tag for tag, _ in seen.tags} == {"h2", "ul", "li", "h3", "ol", "a"}
    assert [names for tag, names in seen.tags if tag == "a"] == [["href", "rel"]], "only the web address is a link"
    shown = " ".join(hostile.replace("\u2028", " ").split())
    assert seen.words.count(shown) == 4, "the key, the term and the two posts stand there as they were written"
    assert text.get_content().count(shown) == 4


def test_the_text_of_a_mail_has_a_line_per_fact_and_per_post() -> None:
    posts = [{**LONG, "text": "first"}, {**LONG, "text": "second", "url": "", "reposts": 0}]
    mail = mail_on(Notice("k", "opened", alert(evidence=posts, terms=[], spread={})), "a@b.c", ["d@e.f"], "en")
    text = mail.get_body(("plain",))
    assert text is not None
    lines = text.get_content().splitlines()
    assert lines[:3] == ["[warning] subject:Example opened", "", "31 of 60 posts negative in 1 h, 8.2 expected (x3.78)"]
    assert lines[-4:] == ["", "Evidence", "- first (+3 reposts) https://a.example/1", "- second"]


@pytest.mark.parametrize(("answer", "error"), [(b"450 later", Transient), (b"550 no such user", Fatal)])
def test_a_mail_server_that_says_no(smtp_port: int, answer: bytes, error: type[Exception]) -> None:
    _Smtp.recipient_answer = answer
    with pytest.raises(error):
        asyncio.run(mail_channel(smtp_port).send(Notice("k", "opened", alert())))
    with pytest.raises(Transient):
        asyncio.run(mail_channel(1).send(Notice("k", "opened", alert())))


def test_who_took_a_mail_does_not_get_it_again_for_another_recipients_sake(smtp_port: int) -> None:
    channel = mail_channel(smtp_port, to=['"Ann, B." <a@example.org>', "b@example.org"])
    _Smtp.answers = {b"<b@": b"450 later"}
    with pytest.raises(Transient, match="1 of 2 recipients refused .450 later."):
        asyncio.run(channel.send(Notice("k", "opened", alert())))
    _Smtp.answers = {}
    asyncio.run(channel.send(Notice("k", "opened", alert())))
    assert [line.split(b":")[1].strip() for line in _Smtp.taken] == [b"<a@example.org>", b"<b@example.org>"]
    asyncio.run(channel.send(Notice("k2", "opened", alert())))
    assert len(_Smtp.taken) == 4, "what comes later is for everybody"
    _Smtp.answers = {b"<b@": b"550 no such user"}
    asyncio.run(channel.send(Notice("k3", "opened", alert())))  # one has it: sending it again would nag
    assert len(_Smtp.taken) == 5


@pytest.mark.parametrize("answer", [b"421 closing", b"nonsense", b""])
def test_a_mail_that_was_taken_stays_taken_however_the_server_parts(smtp_port: int, answer: bytes) -> None:
    _Smtp.quit_answer = answer
    asyncio.run(mail_channel(smtp_port).send(Notice("k", "opened", alert())))
    assert len(_Smtp.mails) == 1


@pytest.mark.parametrize(
    ("secret", "answer", "error", "words"),
    [
        ("right", b"454 temporary failure", Transient, "454 temporary failure"),
        ("wrong", b"535 no", Fatal, "user or password .535 no."),
        ("pässword", b"235 ok", Fatal, "ASCII"),
    ],
)
def test_a_log_in_that_fails_says_why(
    smtp_port: int, secret: str, answer: bytes, error: type[Exception], words: str
) -> None:
    _Smtp.auth_answer = answer
    channel = mail_channel(smtp_port, username="user", secret=secret)
    for call in (channel.check, lambda: channel.send(Notice("k", "opened", alert()))):
        with pytest.raises(error, match=words) as said:
            asyncio.run(call())
        assert secret not in str(said.value)


def test_settings_are_refused_by_name_and_secrets_do_not_show() -> None:
    with pytest.raises(Fatal, match="m: host is missing"):
        open_channel(ChannelSettings(name="m", kind="email"))
    with pytest.raises(Fatal, match="s: url is missing"):
        open_channel(ChannelSettings(name="s", kind="slack"))
    twice = [{"name": "a", "kind": "slack", "url": "https://a.example"}] * 2
    with pytest.raises(Fatal, match="given twice"):
        make_channels(AlertSettings(channels=twice))  # type: ignore[arg-type]
    shown = repr(ChannelSettings(name="s", kind="slack", url="https://hooks.example/T0KEN"))  # type: ignore[arg-type]
    assert "T0KEN" not in shown


def test_a_route_lets_through_what_it_names() -> None:
    sent: list[str] = []

    async def fake(self: Any, notice: Notice) -> None:
        sent.append(notice.alert.key)

    settings = {
        "name": "w",
        "kind": "webhook",
        "url": "https://a.example",
        "severities": ["critical"],
        "keys": ["subject:*"],
        "lanes": ["negative"],
    }
    channel = make_channels(AlertSettings(channels=[settings]))[1]  # type: ignore[list-item]
    channel.channel.send = fake.__get__(channel)  # type: ignore[attr-defined]
    for key, severity in (("subject:A", "critical"), ("subject:A", "warning"), ("topic:b", "critical")):
        asyncio.run(channel.send(Notice("k", "opened", an_alert(key=key, severity=severity))))
    asyncio.run(channel.send(Notice("k", "opened", an_alert(key="subject:B", severity="critical", lane="volume"))))
    assert sent == ["subject:A"]
