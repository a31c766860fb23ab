"""Makes the channels of the settings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import SecretStr

from pipeline.alerting.notify.alertmanager import AlertmanagerChannel, alerts_url
from pipeline.alerting.notify.channel import Channel, Notice
from pipeline.alerting.notify.chat import DingTalkChannel, FeishuChannel, SlackChannel, WeComChannel
from pipeline.alerting.notify.http import Poster
from pipeline.alerting.notify.log import LOG, LogChannel
from pipeline.alerting.notify.mail import MailChannel
from pipeline.alerting.notify.smtp import MailServer
from pipeline.alerting.notify.webhook import WebhookChannel
from pipeline.domain.alert import Alert
from pipeline.domain.errors import Fatal, Transient
from pipeline.settings import AlertSettings, ChannelSettings


def make_channels(settings: AlertSettings) -> list[Channel]:
    """The channels, with the log first where none of them is one.

    Raises `Fatal` naming the channel and the field.
    """
    check_names(settings)
    logged = any(c.kind == "log" for c in settings.channels)
    return [
        *([] if logged else [LogChannel()]),
        *(Routed(open_channel(c), c) for c in settings.channels),
    ]


def check_names(settings: AlertSettings) -> list[str]:
    """The names of the channels; raises `Fatal` for one that two have, or that only the log may have."""
    names = [c.name for c in settings.channels]
    if twice := {n for n in names if names.count(n) > 1}:
        raise Fatal(f"alerts.channels: the name {sorted(twice)[0]!r} is given twice", "name each channel once")
    if LOG in names:
        raise Fatal(f"alerts.channels: {LOG!r} is the worker's own log", "give the channel another name")
    return names


def check_channels(settings: AlertSettings) -> list[tuple[str, str | None]]:
    """Reaches each channel without notifying anybody; gives its name, and its problem with the remedy or None."""
    made: list[tuple[str, Channel | str]] = []
    for c in settings.channels:
        made.append((c.name, _opened(lambda c=c: open_channel(c))))  # type: ignore[misc]
    return [(name, asyncio.run(_problem(it)) if not isinstance(it, str) else it) for name, it in made]


def _opened(make: Callable[[], Channel]) -> Channel | str:
    try:
        return make()
    except Fatal as error:
        return str(error)


async def _problem(channel: Channel) -> str | None:
    try:
        await channel.check()
    except Fatal as error:
        return str(error)
    except Transient as error:
        return f"{error}; is the receiver up, and may this host reach it?"
    return None


def open_channel(c: ChannelSettings) -> Channel:
    """One channel, without its route."""
    if c.kind == "log":
        return LogChannel(c.name)
    secret = _secret(c, c.secret, c.secret_file, "secret")
    if c.kind == "email":
        if missing := [f for f in ("host", "sender", "to") if not getattr(c, f)]:
            raise Fatal(f"alerts.channels {c.name}: {missing[0]} is missing", "an email channel needs host, sender, to")
        if c.username and not secret:
            raise Fatal(f"alerts.channels {c.name}: secret is missing", "give the password of username in secret_file")
        server = MailServer(
            c.name,
            c.host,
            c.port,
            username=c.username,
            password=secret,
            tls=c.tls,
            ca_file=c.ca_file,
            timeout_s=c.timeout_s,
        )
        return MailChannel(c.name, server, sender=c.sender, to=c.to, language=c.language)
    url = _secret(c, c.url, c.url_file, "url")
    if not url:
        raise Fatal(f"alerts.channels {c.name}: url is missing", f"a {c.kind} channel needs url or url_file")
    if c.kind == "webhook":
        return WebhookChannel(
            c.name, url, secret=secret, allow_private=c.allow_private, timeout_s=c.timeout_s, body=c.body
        )
    if c.kind == "alertmanager":
        poster = Poster(c.name, alerts_url(url), allow_private=c.allow_private, timeout_s=c.timeout_s)
        return AlertmanagerChannel(c.name, poster)
    poster = Poster(c.name, url, allow_private=c.allow_private, timeout_s=c.timeout_s)
    if c.kind == "slack":
        return SlackChannel(c.name, poster, c.language)
    if c.kind == "wecom":
        return WeComChannel(c.name, poster, c.language)
    kind = DingTalkChannel if c.kind == "dingtalk" else FeishuChannel
    return kind(c.name, poster, secret, c.language)


class Routed:
    """A channel with a route, which says what alerts it takes."""

    def __init__(self, channel: Channel, route: ChannelSettings) -> None:
        self.channel, self._route = channel, route

    @property
    def name(self) -> str:
        return self.channel.name

    def takes(self, alert: Alert) -> bool:
        """Whether the route takes an alert."""
        return (
            alert.severity in self._route.severities
            and alert.lane in self._route.lanes
            and any(fnmatchcase(alert.key, pattern) for pattern in self._route.keys)
        )

    async def send(self, notice: Notice) -> None:
        if notice.transition == "test" or self.takes(notice.alert):
            await self.channel.send(notice)

    async def check(self) -> None:
        await self.channel.check()


def _secret(c: ChannelSettings, value: SecretStr, file: str, field: str) -> str:
    if not file:
        return value.get_secret_value()
    try:
        return Path(file).read_text("utf-8").strip()
    except OSError as error:
        raise Fatal(f"alerts.channels {c.name}: {field}_file {file}: {error.strerror}", "mount the file") from None
    except UnicodeDecodeError:
        raise Fatal(f"alerts.channels {c.name}: {field}_file {file} is not UTF-8", "write it as plain text") from None
    except ValueError:  # a NUL character in the name
        raise Fatal(f"alerts.channels {c.name}: {field}_file cannot name a file", "give its path") from None
