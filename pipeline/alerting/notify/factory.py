"""Makes the channels of the settings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import SecretStr

from pipeline.alerting.notify.channel import Channel, Notice
from pipeline.alerting.notify.channels.alertmanager import AlertmanagerChannel, alerts_url
from pipeline.alerting.notify.channels.chat import DingTalkChannel, FeishuChannel, SlackChannel, WeComChannel
from pipeline.alerting.notify.channels.http import Poster
from pipeline.alerting.notify.channels.log import LOG, LogChannel
from pipeline.alerting.notify.channels.mail import MailChannel
from pipeline.alerting.notify.channels.smtp import MailServer
from pipeline.alerting.notify.channels.webhook import WebhookChannel
from pipeline.domain.alert import Alert
from pipeline.domain.errors import Fatal, Transient
from pipeline.settings import AlertSettings, ChannelSettings


def make_channels(settings: AlertSettings) -> list[Channel]:
    """The channels of the settings, with the log first unless one of them is a log.

    Raises `Fatal`, which names the channel and the field.
    """
    check_names(settings)
    logged = any(c.kind == "log" for c in settings.channels)
    return [
        *([] if logged else [LogChannel()]),
        *(Routed(open_channel(c), c) for c in settings.channels),
    ]


def check_names(settings: AlertSettings) -> list[str]:
    """The names of the channels; raises `Fatal` for a name that two have or that is reserved for the log."""
    names = [c.name for c in settings.channels]
    if twice := {n for n in names if names.count(n) > 1}:
        raise Fatal(f"alerts.channels: the name {sorted(twice)[0]!r} is given twice", "give each channel its own name")
    if LOG in names:
        message = f"alerts.channels: the name {LOG!r} is reserved for the worker's own log"
        raise Fatal(message, "give the channel another name")
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
        return f"{error}; check that the receiver is running and that this host may reach it"
    return None


def open_channel(c: ChannelSettings) -> Channel:
    """One channel, without its route."""
    if c.kind == "log":
        return LogChannel(c.name)
    secret = _secret(c, c.secret, c.secret_file, "secret")
    if c.kind == "email":
        if missing := [f for f in ("host", "sender", "to") if not getattr(c, f)]:
            raise _missing(c, missing[0], "set host, sender and to, which an email channel needs")
        if c.username and not secret:
            raise _missing(c, "secret", "set secret or secret_file to the password of username")
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
        raise _missing(c, "url", f"set url or url_file, which a {c.kind} channel needs")
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


def _missing(c: ChannelSettings, field: str, remedy: str) -> Fatal:
    return Fatal(f"alerts.channels {c.name}: {field} is missing", remedy)


def _secret(c: ChannelSettings, value: SecretStr, file: str, field: str) -> str:
    if not file:
        return value.get_secret_value()
    place = f"alerts.channels {c.name}: {field}_file"
    try:
        return Path(file).read_text("utf-8").strip()
    except OSError as error:
        raise Fatal(f"{place} {file}: {error.strerror}", "mount the file so that this user can read it") from None
    except UnicodeDecodeError:
        raise Fatal(f"{place} {file} is not UTF-8", "store it as plain text in UTF-8") from None
    except ValueError:  # a NUL character in the name
        raise Fatal(f"{place} is not the name of a file", "give the path of the file") from None
