"""Slack, DingTalk, Feishu and WeCom: each has its own body, signature and limit; `answers.py` reads their answers.

Sources, as of 2026: api.slack.com/messaging/webhooks, open.dingtalk.com (custom robot), open.feishu.cn (custom bot),
developer.work.weixin.qq.com (group robot).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import time
from collections.abc import Callable
from urllib.parse import quote_plus

from models.json_types import JsonObject
from pipeline.alerting.alerts.origin import Language
from pipeline.alerting.notify.channel import Notice
from pipeline.alerting.notify.channels.answers import DINGTALK, FEISHU, WECOM, judge_slack, judge_vendor
from pipeline.alerting.notify.channels.chart_png import chart_png
from pipeline.alerting.notify.channels.http import Poster
from pipeline.alerting.notify.channels.message import Message, fitted, markdown, message
from pipeline.alerting.notify.channels.rate_limit import RateLimit
from pipeline.domain.alert import CRITICAL, WARNING
from pipeline.domain.errors import Fatal, Transient

#: The limits of the text of a message, in bytes of UTF-8: bodies stay below the vendors' 20,000, 20 KB and 4,096.
SLACK_BYTES, DINGTALK_BYTES, FEISHU_BYTES, WECOM_BYTES = 2_900, 15_000, 15_000, 4_096
Clock = Callable[[], float]

log = logging.getLogger(__name__)


class SlackChannel:
    """An incoming webhook; one message a second."""

    def __init__(self, name: str, poster: Poster, language: Language, monotonic: Clock = time.monotonic) -> None:
        self.name, self._poster, self._language = name, poster, language
        self._limit = RateLimit({1.0: 1}, monotonic)

    async def check(self) -> None:
        await self._poster.check()

    async def send(self, notice: Notice) -> None:
        self._limit.acquire(self.name)
        said = message(notice.alert, notice.transition, self._language)
        text = fitted(said, _mrkdwn, SLACK_BYTES)
        section: JsonObject = {"type": "section", "text": {"type": "mrkdwn", "text": text}}
        judge_slack(self.name, await self._poster.post_json({"text": said.title, "blocks": [section]}))


class DingTalkChannel:
    """A custom robot with a signature; 20 messages a minute."""

    def __init__(
        self,
        name: str,
        poster: Poster,
        secret: str,
        language: Language,
        clock: Clock = time.time,
        monotonic: Clock = time.monotonic,
    ) -> None:
        """The signature holds the time of `clock`."""
        self.name, self._poster, self._secret, self._language, self._clock = name, poster, secret, language, clock
        self._limit = RateLimit({60.0: 20}, monotonic)

    async def check(self) -> None:
        await self._poster.check()

    async def send(self, notice: Notice) -> None:
        self._limit.acquire(self.name)
        said = message(notice.alert, notice.transition, self._language)
        body: JsonObject = {
            "msgtype": "markdown",
            "markdown": {"title": said.title, "text": fitted(said, markdown, DINGTALK_BYTES)},
            "at": {"isAtAll": False},
        }
        stamp = str(int(self._clock() * 1000))
        signed = _hmac(self._secret.encode(), f"{stamp}\n{self._secret}".encode())
        query = f"timestamp={stamp}&sign={quote_plus(signed)}" if self._secret else ""
        judge_vendor(self.name, await self._poster.post_json(body, query), DINGTALK)


class FeishuChannel:
    """A custom bot with a signature; 100 messages a minute and 5 a second."""

    def __init__(
        self,
        name: str,
        poster: Poster,
        secret: str,
        language: Language,
        clock: Clock = time.time,
        monotonic: Clock = time.monotonic,
    ) -> None:
        """The signature holds the time of `clock`."""
        self.name, self._poster, self._secret, self._language, self._clock = name, poster, secret, language, clock
        self._limit = RateLimit({60.0: 100, 1.0: 5}, monotonic)

    async def check(self) -> None:
        await self._poster.check()

    async def send(self, notice: Notice) -> None:
        self._limit.acquire(self.name)
        said = message(notice.alert, notice.transition, self._language)
        colour = {CRITICAL: "red", WARNING: "orange"}[notice.alert.severity]
        text = fitted(said, markdown, FEISHU_BYTES)
        signed: JsonObject = {}
        if self._secret:
            stamp = str(int(self._clock()))
            signed = {"timestamp": stamp, "sign": _hmac(f"{stamp}\n{self._secret}".encode(), b"")}
        body: JsonObject = {
            "msg_type": "interactive",
            "card": {
                "header": {
                    "title": {"tag": "plain_text", "content": said.title},
                    "template": "green" if notice.transition == "resolved" else colour,
                },
                "elements": [{"tag": "markdown", "content": text}],
            },
            **signed,
        }
        judge_vendor(self.name, await self._poster.post_json(body), FEISHU)


class WeComChannel:
    """A group robot whose key is in the URL; 20 messages a minute. The chart is a message of its own."""

    def __init__(self, name: str, poster: Poster, language: Language, monotonic: Clock = time.monotonic) -> None:
        self.name, self._poster, self._language = name, poster, language
        self._limit = RateLimit({60.0: 20}, monotonic)

    async def check(self) -> None:
        await self._poster.check()

    async def send(self, notice: Notice) -> None:
        self._limit.acquire(self.name)
        said = message(notice.alert, notice.transition, self._language)
        body: JsonObject = {"msgtype": "markdown", "markdown": {"content": fitted(said, markdown, WECOM_BYTES)}}
        judge_vendor(self.name, await self._poster.post_json(body), WECOM)
        chart = chart_png(notice.alert)
        if chart is None or notice.transition == "resolved":
            return
        image = {
            "base64": base64.b64encode(chart).decode(),
            "md5": hashlib.md5(chart, usedforsecurity=False).hexdigest(),
        }
        try:
            self._limit.acquire(self.name)
            answer = await self._poster.post_json({"msgtype": "image", "image": image})
            judge_vendor(self.name, answer, WECOM)
        except (Transient, Fatal) as error:
            # The message was sent: sending it again because of its chart would be a nuisance.
            log.warning("channel %s did not send the chart: %s", self.name, error)


def _mrkdwn(said: Message) -> str:
    """Slack's own markup, in which &, < and > are escaped and bold text has one asterisk on either side."""
    lines = [f"*{_escaped(said.title)}*", *(f"• {_escaped(fact)}" for fact in said.facts)]
    if said.evidence:
        lines.append(f"*{_escaped(said.evidence_heading)}*")
        for text, url, reposts in said.evidence:
            link = f" <{url}|link>" if url.startswith("http") and not any(c in url for c in "<>| ") else ""
            lines.append(f"> {_escaped(text)}{f' ({reposts})' if reposts else ''}{link}")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _hmac(key: bytes, text: bytes) -> str:
    return base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
